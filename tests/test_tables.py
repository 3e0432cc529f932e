from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl

from clipsteer.tables import parquet_bytes, read_parquet


def frame(rows: int = 300_000) -> pl.DataFrame:
    """Larger than one row group; strings, nulls, several types."""
    numbers = pl.Series("number", range(rows), dtype=pl.Int64())
    return pl.DataFrame(
        [
            numbers,
            ("image " + (numbers % 97).cast(pl.String())).alias("text"),
            (numbers % 3 == 0).alias("flag"),
            (numbers / 7).alias("value"),
            pl.select(pl.when(numbers % 5 > 0).then(numbers % 4))
            .to_series()
            .cast(pl.Int8())
            .alias("g"),
        ]
    )


def test_round_trip_from_bytes_and_from_a_file(tmp_path: Path) -> None:
    table = frame(1000)
    data = parquet_bytes(table)
    (tmp_path / "t.parquet").write_bytes(data)
    for source in (data, tmp_path / "t.parquet"):
        back = read_parquet(source)
        assert back.equals(table)
        assert back.schema == table.schema
    assert read_parquet(parquet_bytes(table.clear())).equals(table.clear())


def test_equal_tables_give_equal_bytes_however_they_were_put_together() -> None:
    table = frame()
    want = parquet_bytes(table)
    assert parquet_bytes(frame()) == want
    pieces = pl.concat([table[:7], table[7:200_000], table[200_000:]], rechunk=False)
    assert pieces.n_chunks() > 1
    assert parquet_bytes(pieces) == want
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=1).sort("number")
    assert parquet_bytes(shuffled) == want
    assert parquet_bytes(table.with_columns(value=pl.col("value") * 2)) != want


def test_threads_do_not_show() -> None:
    code = (
        "import hashlib; from tests.test_tables import frame;"
        "from clipsteer.tables import parquet_bytes;"
        "print(hashlib.sha256(parquet_bytes(frame())).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "POLARS_MAX_THREADS": threads},
            cwd=Path(__file__).parents[1],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(found) == 1
