"""``python -m bench NAME [--write]``."""

from __future__ import annotations

from pathlib import Path

import click

from bench import drafts, gaps, imports, inbox, jobs, loop, messages, search, sockets, vectors

write_option = click.option("--write", is_flag=True, help="Put the table into docs/performance.md.")


@click.group()
def main() -> None:
    """Figures, each beside its bare baseline."""


@main.command("inbox")
@click.option("--size", "sizes", type=int, multiple=True, default=(10_000, 100_000, 1_000_000), show_default=True)
@write_option
def inbox_command(sizes: tuple[int, ...], write: bool) -> None:
    """Pages of the console at several numbers of conversations."""
    inbox.run(sizes, write=write)


@main.command("messages")
@write_option
def messages_command(write: bool) -> None:
    """Customer messages taken in by one web process."""
    messages.run(write=write)


@main.command("jobs")
@write_option
def jobs_command(write: bool) -> None:
    """Durable jobs done by one worker process."""
    jobs.run(write=write)


@main.command("drafts")
@write_option
def drafts_command(write: bool) -> None:
    """From a message to its draft."""
    drafts.run(write=write)


@main.command("sockets")
@write_option
def sockets_command(write: bool) -> None:
    """From a reply to one of a thousand customers' sockets."""
    sockets.run(write=write)


@main.command("search")
@write_option
def search_command(write: bool) -> None:
    """Search over a hundred thousand passages."""
    search.run(write=write)


@main.command("imports")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True))
@click.option("--limit", type=int, help="Only so many files.")
@click.option("--vectors", "enough", type=int, help="Only until so many articles have vectors.")
@write_option
def imports_command(folder: Path, limit: int | None, enough: int | None, write: bool) -> None:
    """A folder of Markdown files through import and index."""
    imports.run(folder, limit, enough, write=write)


@main.command("vectors")
@click.option("--size", "sizes", type=int, multiple=True, default=(20_000, 100_000), show_default=True)
@write_option
def vectors_command(sizes: tuple[int, ...], write: bool) -> None:
    """The vector lane at several numbers of passages."""
    vectors.run(sizes, write=write)


@main.command("gaps")
@click.option("--size", "sizes", type=int, multiple=True, default=(1_000, 100_000), show_default=True)
@write_option
def gaps_command(sizes: tuple[int, ...], write: bool) -> None:
    """One more question without an answer, at several numbers of those behind it."""
    gaps.run(sizes, write=write)


@main.command("loop")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True))
@click.option("--topics", type=int, default=12, show_default=True, help="Articles to leave out.")
@write_option
def loop_command(folder: Path, topics: int, write: bool) -> None:
    """From misses to published answers, with a collection in the BEIR format."""
    loop.run(folder, topics, write=write)


if __name__ == "__main__":
    main()
