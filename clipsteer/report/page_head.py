"""What every page for the browser begins with. It asks nothing of a network, and holds scripts only if it says so."""

from __future__ import annotations

from html import escape


def head(title: str, style: str, *, scripts: bool) -> str:
    """Up to and with `<body>`. `title` is text, `style` CSS."""
    allowed = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    if scripts:
        allowed += "; script-src 'unsafe-inline'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{allowed}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>"""
