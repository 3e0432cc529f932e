"""Stand-ins for results that are not known yet, so that the jobs after them can be planned all the same.

`plan(job)` of a step only hands digests on. Where a digest is not known before another action has been
computed, a stand-in goes in its place and says which action that is. Where even the names of outputs or
members are not known, every name that is asked for has a stand-in, and a list of all names has one more
entry, `MORE`, for those that may come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

from clipsteer.store.pointers import Member, Output, Pointer

# Comes after every other name where names are sorted, as steps do before they cut a list into parts.
MORE = "~more"
_MARK = "pending:"


class UndecidedError(LookupError):
    """A step's `plan` asks for a fact that is not known yet."""


def is_pending(value: Any) -> bool:
    """Whether this stands in for a digest."""
    return isinstance(value, str) and value.startswith(_MARK)


def decided_by(stand_in: str) -> str:
    """The key of the action (or the name of the job) that decides what stands there."""
    return stand_in.removeprefix(_MARK).partition("|")[0]


def is_more(name: str) -> bool:
    """Whether an action or input stands for those whose names are not known yet."""
    return name.rpartition("/")[2] == MORE


def unknown_member(key: str, like: Member | None) -> Member:
    """What an action will give, by its key; `like` is what it gave before, for the names."""
    return Member(_Outputs(key, like.outputs if like else ()), _Facts())


def unknown_pointer(step: str, name: str) -> Pointer:
    """The results of a job of whose actions nothing is known."""
    return Pointer(step, _Members(name))


def union(pointers: Iterable[Pointer]) -> Pointer:
    """The members of several pointers as one, known or not."""
    step, members = "", dict[str, Member]()
    for pointer in pointers:
        step = pointer.step
        if isinstance(members, _Members):
            members |= pointer.members
        elif isinstance(pointer.members, _Members):
            members = _Members(pointer.members.name, members)
        else:
            members |= pointer.members
    return Pointer(step, members)


def widened(pointer: Pointer, number: int) -> Pointer:
    """The same with so many more outputs wherever their names are not known."""
    members = copy(pointer.members)
    for name, member in pointer.members.items():
        if MORE in member.outputs:
            outputs = copy(member.outputs)
            for more in range(number):
                outputs[f"{MORE}{more}"] = outputs[MORE]
            members[name] = Member(outputs, member.facts)
    return Pointer(pointer.step, members)


class _Outputs(dict[str, Output]):
    def __init__(self, key: str, names: Iterable[str]) -> None:
        super().__init__()
        self.key = key
        for name in (*names, MORE):
            self[name] = self[name]

    def __missing__(self, name: str) -> Output:
        return Output(f"{_MARK}{self.key}|{name}", 0)


class _Members(dict[str, Member]):
    def __init__(self, name: str, known: Mapping[str, Member] | None = None) -> None:
        super().__init__(known or {})
        self.name = name
        self[MORE] = self[MORE]

    def __missing__(self, member: str) -> Member:
        return Member(_Outputs(f"{self.name}|{member}", ()), _Facts())


class _Facts(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        raise UndecidedError(name)
