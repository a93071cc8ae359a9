"""What stands in the files of a database: read past every query, as somebody would who has the disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy import Engine, text

PAGE = 8192
RELATIONS = """
    SELECT c.oid::regclass::text, c.relkind::text, pg_relation_filepath(c.oid), pg_relation_size(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'i', 't', 'm', 'S')
        AND (n.nspname = :schema OR c.oid IN (
            SELECT t.reltoastrelid FROM pg_class t JOIN pg_namespace tn ON tn.oid = t.relnamespace
            WHERE tn.nspname = :schema
            UNION
            SELECT i.indexrelid FROM pg_index i JOIN pg_class t ON t.reltoastrelid = i.indrelid
            JOIN pg_namespace tn ON tn.oid = t.relnamespace WHERE tn.nspname = :schema
        ))
    ORDER BY 1
"""


def store_plainly(engine: Engine, schema: str) -> None:
    """Have long values of every table stored as they are: compressed, no search of the bytes would find a word."""
    columns = """
        SELECT c.oid::regclass::text, quote_ident(a.attname) FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = :schema AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
            AND a.attstorage IN ('x', 'm')
    """
    with engine.begin() as connection:
        for table, column in connection.execute(text(columns), {"schema": schema}).all():
            connection.execute(text(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL"))


def found(engine: Engine, schema: str, words: Collection[str], *, everywhere: bool = False) -> set[str]:
    """Where a word stands, whatever its case, as ``"<word> in <relation>"``: tables, TOAST, indexes, and statistics.

    Args:
        everywhere: also in the gap of a page, which belongs to no row: what was moved away stands there until something
            else does. Else only what belongs to rows and keys.
    """
    wanted = {word.casefold().encode() for word in words}
    places: set[str] = set()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CHECKPOINT"))  # what is in memory goes to the files
        for name, _, path, size in connection.execute(text(RELATIONS), {"schema": schema}).all():
            for start in range(0, size, 256 * PAGE):
                read = text("SELECT pg_read_binary_file(:path, :start, :length)")
                given = {"path": path, "start": start, "length": 256 * PAGE}
                data = bytes(connection.scalar(read, given) or b"").lower()
                for page in _pages(data, everywhere):
                    places |= {f"{word.decode()} in {name}" for word in wanted if word in page}
        kept = text("SELECT tablename || ' ' || pg_stats::text FROM pg_stats WHERE schemaname = :schema")
        for row in connection.scalars(kept, {"schema": schema}):
            said = row.casefold().encode()
            places |= {f"{word.decode()} in statistics of {row.split(' ', 1)[0]}" for word in wanted if word in said}
    return places


def _pages(data: bytes, everywhere: bool) -> Iterator[bytes]:
    for start in range(0, len(data), PAGE):
        page = data[start : start + PAGE]
        lower, upper = (int.from_bytes(page[at : at + 2], "little") for at in (12, 14))
        if everywhere or not 24 <= lower <= upper <= PAGE:
            yield page
        else:
            yield page[:lower] + b"\x00" + page[upper:]
