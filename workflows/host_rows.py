"""What `--inputs` names: one run of the workflow per row of a table, or per picture of a folder."""

import csv
import io
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

from .host_prompt import Setting, WrongCallError, parse_setting
from .host_services import IMAGE_ENDINGS

_LOG = logging.getLogger("raiha.host")
_NAME = "name"  # the column that names a row's folder


@dataclass(frozen=True, kw_only=True, slots=True)
class InputRow:
    """One run: its folder below --out, and what it changes in the workflow."""

    name: str
    settings: tuple[Setting, ...]

    def __post_init__(self) -> None:
        if not self.name or re.search(r'[<>:"/\\|?*\x00-\x1f]|[. ]$', self.name):
            raise WrongCallError(f"--inputs: '{self.name}' cannot name a folder for results")


def read_rows(path: Path) -> list[InputRow]:
    """The rows of a CSV file, or of a folder that has one folder of pictures per input.

    A CSV's first line names inputs as NODE.INPUT, and perhaps a column `name`; an empty cell keeps the
    workflow's own value; pictures with relative paths lie beside the CSV. In a folder, the folders
    `1.image` and `2.image` hold pictures of equal stems for these inputs.
    Raises: WrongCallError naming the line, the column or the file that is wrong; OSError.
    """
    rows = _folder_rows(path) if path.is_dir() else _csv_rows(path)
    names = [row.name.casefold() for row in rows]
    if twice := [row.name for row in rows if names.count(row.name.casefold()) > 1]:
        raise WrongCallError(f"--inputs {path}: two rows are called '{twice[0]}'")
    if not rows:
        raise WrongCallError(f"--inputs {path}: there is no row in it")
    return rows


def _csv_rows(path: Path) -> list[InputRow]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets begin with a byte-order mark
    except UnicodeDecodeError:
        raise WrongCallError(f"--inputs {path}: it is no UTF-8 text; save it as 'CSV UTF-8'") from None
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    try:
        lines = [
            (reader.line_num, [cell.strip() for cell in cells])
            for reader in [csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)]
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
    except csv.Error:
        raise WrongCallError(
            f"--inputs {path}: it is no table; look for a quote that is not closed"
        ) from None
    if not lines:
        return []
    (_, header), *body = lines
    if len(set(header)) < len(header):
        raise WrongCallError(f"--inputs {path}: a column stands in its first line twice")
    columns = [None if name == _NAME else parse_setting(f"{name}=", f"--inputs {path}:") for name in header]
    rows = []
    for number, (line, cells) in enumerate(body, 1):
        if len(cells) != len(header):
            raise WrongCallError(
                f"--inputs {path}: line {line} has {len(cells)} cells for {len(header)} columns"
            )
        given = dict(zip(header, cells, strict=True))
        settings = tuple(
            replace(column, value=cell, origin=f"line {line} of {path}:", folder=path.parent)
            for column, cell in zip(columns, cells, strict=True)
            if column is not None and cell
        )
        rows.append(InputRow(name=given.get(_NAME) or f"{number:04}", settings=settings))
    return rows


def _folder_rows(path: Path) -> list[InputRow]:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise WrongCallError(
            f"--inputs {path}: put the pictures into folders named after inputs, such as {path / '1.image'}"
        )
    columns: dict[Setting, dict[str, Path]] = {}
    for folder in folders:
        column = parse_setting(f"{folder.name}=", f"--inputs {path}:")
        columns[column] = pictures = {}
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() not in IMAGE_ENDINGS:
                _LOG.warning("%s is no picture and was passed over", file)
            elif file.stem in pictures:
                raise WrongCallError(f"--inputs: {pictures[file.stem]} and {file} have the same stem")
            else:
                pictures[file.stem] = file
    stems = sorted(set().union(*columns.values()))
    for column, pictures in columns.items():
        if missing := [stem for stem in stems if stem not in pictures]:
            raise WrongCallError(
                f"--inputs {path}: {column.node}.{column.input} has no picture for {', '.join(missing[:5])}"
            )
    return [
        InputRow(
            name=stem,
            settings=tuple(
                replace(column, value=str(pictures[stem].resolve()), origin=f"{path}:")
                for column, pictures in columns.items()
            ),
        )
        for stem in stems
    ]
