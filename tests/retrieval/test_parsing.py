"""Tests of reading files in the real child process: what is in good ones, and what is told of bad ones."""

import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backstay.retrieval.chunking import cut
from backstay.retrieval.parsing import Parser, Unreadable
from backstay.retrieval.tables import text_of_csv, text_of_markdown_tables
from backstay.retrieval.types import Chunking

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


@pytest.fixture
async def parser() -> AsyncIterator[Parser]:
    parser = Parser()
    yield parser
    await parser.close()


def package(path: Path, parts: dict[str, str]) -> Path:
    """Write an office file of its parts."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("[Content_Types].xml", f'<Types xmlns="{PACKAGE}/content-types"/>')
        for name, text in parts.items():
            file.writestr(name, text)
    return path


def pdf(path: Path, pages: int, text: str = "", *, encrypt: str = "") -> Path:
    """Write a PDF whose pages have a line of text each, or none."""
    kids = " ".join(f"{4 + 2 * page} 0 R" for page in range(pages))
    bodies = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>"]
    bodies.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for page in range(pages):
        drawn = f"BT /F1 12 Tf 50 700 Td ({text} {page + 1}) Tj ET" if text else "0 0 10 10 re f"
        font = "<< /Font << /F1 3 0 R >> >>"
        bodies.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources {font} /Contents {5 + 2 * page} 0 R >>"
        )
        bodies.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
    data, places = b"%PDF-1.4\n", list[int]()
    for number, body in enumerate(bodies, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode()
    rows = "".join(f"{place:010} 00000 n \n" for place in places)
    trailer = f"<< /Size {len(bodies) + 1} /Root 1 0 R {encrypt} >>"
    table = f"xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n{rows}trailer\n{trailer}\nstartxref\n{len(data)}\n%%EOF"
    path.write_bytes(data + table.encode())
    return path


async def test_each_page_of_a_long_pdf_is_known(parser: Parser, tmp_path: Path) -> None:
    """2,000 pages: where each begins in the text."""
    parsed = await parser.parse_file("long.pdf", pdf(tmp_path / "x", 2000, "This is page"))
    assert len(parsed.page_starts) == 2000
    for page in (1, 777, 2000):
        assert parsed.text[parsed.page_starts[page - 1] :].startswith(f"This is page {page}")


async def test_rows_keep_their_headers(parser: Parser, tmp_path: Path) -> None:
    """Of CSV in any common form and of XLSX: each row says what its values are of."""
    (tmp_path / "a.csv").write_text('name;price;note\nBolt;"1,50";small\nNut;0,20;"two\nlines"\n')
    parsed = await parser.parse_file("a.csv", tmp_path / "a.csv")
    assert parsed.text == "name: Bolt | price: 1,50 | note: small\nname: Nut | price: 0,20 | note: two lines"
    cells = [["item", "count"], ["Rope", "12"], ["Sail", "3"]]
    rows = "".join(
        f"<row r='{r}'>"
        + "".join(
            f"<c r='{column}{r}' t='inlineStr'><is><t>{cell}</t></is></c>"
            for column, cell in zip("AB", row, strict=True)
        )
        + "</row>"
        for r, row in enumerate(cells, 1)
    )
    sheet = package(
        tmp_path / "b.xlsx",
        {
            "_rels/.rels": f"<Relationships xmlns='{PACKAGE}/relationships'><Relationship Id='r1' "
            f"Type='{OFFICE}/officeDocument' Target='xl/workbook.xml'/></Relationships>",
            "xl/workbook.xml": f"<workbook xmlns='{SHEET}' xmlns:r='{OFFICE}'><sheets><sheet name='Store' sheetId='1' "
            "r:id='r1'/></sheets></workbook>",
            "xl/_rels/workbook.xml.rels": f"<Relationships xmlns='{PACKAGE}/relationships'><Relationship Id='r1' "
            f"Type='{OFFICE}/worksheet' Target='worksheets/sheet1.xml'/></Relationships>",
            "xl/worksheets/sheet1.xml": f"<worksheet xmlns='{SHEET}'><sheetData>{rows}</sheetData></worksheet>",
        },
    )
    parsed = await parser.parse_file("b.xlsx", sheet)
    assert "item: Rope | count: 12\nitem: Sail | count: 3" in parsed.text


async def test_a_page_is_read_without_its_head(parser: Parser) -> None:
    """Its title is the document's, and what else stands there is not of its text."""
    head = "<title>Ports</title><meta name='author' content='A: B'><meta name='description' content='All'>"
    parsed = await parser.parse(
        "a.html", f"<html><head>{head}</head><body><h1>Kiel</h1><p>x</p></body></html>".encode()
    )
    assert (parsed.title, parsed.text) == ("Ports", "# Kiel\n\nx\n")


def test_tables_within_texts_become_rows() -> None:
    """What is no table stays as it is; one with a head alone is its names."""
    text = "Before.\n\n| a | b |\n|---|---|\n| 1 | x \\| y |\n| | 2 |\n\nAfter | all."
    assert text_of_markdown_tables(text) == "Before.\n\na: 1 | b: x | y\nb: 2\n\nAfter | all."
    assert text_of_markdown_tables("| a | b |\n| --- | --- |") == "a | b"
    assert text_of_csv("only,a,head", most_chars=99) == "only | a | head"
    assert text_of_csv("a\tb\n1\t2\n\n3\t4\t5", most_chars=99) == "a: 1 | b: 2\na: 3 | b: 4 | 5"


OLE = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(2000)
ENCRYPTED = (
    f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{'ab' * 32}> /U <{'cd' * 32}> /P -44 >> "
    f"/ID [<{'01' * 16}> <{'01' * 16}>]"
)


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("empty.txt", b"", "empty.txt is empty: there is nothing to read."),
        ("blank.md", b" \n\n", "blank.md has no text in it."),
        ("cut.pdf", b"%PDF-1.7\n1 0 obj\n<<", "cut.pdf is damaged, or was cut off: no PDF reader finds its pages."),
        ("text.pdf", b"Hello.", "text.pdf is not a .pdf file: it does not begin like one."),
        ("word.pdf", b"PK\x03\x04" + bytes(50), "by its content it is an archive or an office file. Rename it"),
        ("report.docx", b"%PDF-1.4 ...", "report.docx is not a .docx file: by its content it is a PDF."),
        ("old.docx", OLE, "old.docx is encrypted, or of the office format before 2007. Save it as .docx without"),
        ("cut.docx", b"PK\x03\x04" + bytes(50), "cut.docx is damaged, or was cut off."),
        ("paper.txt", b"%PDF-1.4\n1 0 obj", "paper.txt is a PDF by its content. Rename it by what it is"),
        ("rows.csv", b"PK\x03\x04" + bytes(50), "rows.csv cannot be read: it is no text, as a .csv file is."),
        ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(9), "picture.png is no text, and its format is not known."),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
async def test_what_is_wrong_with_a_file_is_told_with_what_to_do(
    parser: Parser, name: str, data: bytes, told: str
) -> None:
    """In a sentence that names the file, and nothing of the library that found it."""
    with pytest.raises(Unreadable) as caught:
        await parser.parse(name, data)
    assert told in caught.value.message and "Error" not in caught.value.message


async def test_encrypted_pictured_and_swelling_files_are_told(parser: Parser, tmp_path: Path) -> None:
    """And the reader reads the next file as if nothing had been."""
    with pytest.raises(Unreadable, match=r"locked\.pdf is encrypted\. Save it without a password"):
        await parser.parse_file("locked.pdf", pdf(tmp_path / "a", 1, "secret", encrypt=ENCRYPTED))
    with pytest.raises(Unreadable, match=r"Its 3 pages are pictures, .* OCR"):
        await parser.parse_file("scan.pdf", pdf(tmp_path / "b", 3))
    swelling = f"<w:document xmlns:w='{WORD}'><w:body>{'<w:p/>' * 20_000_000}</w:body></w:document>"
    bomb = package(tmp_path / "c.docx", {"word/document.xml": swelling})
    with pytest.raises(Unreadable, match=r"bomb\.docx unpacks to far more than it may"):
        await parser.parse_file("bomb.docx", bomb)
    assert bomb.stat().st_size < 1_000_000
    assert (await parser.parse_file("good.pdf", pdf(tmp_path / "d", 1, "Good page"))).text.startswith("Good page 1")


async def test_a_file_that_takes_too_long_or_too_much_is_ended(tmp_path: Path) -> None:
    """By time, or by memory; the next is read by another process."""
    long = pdf(tmp_path / "a", 3000, "page")
    hurried = Parser(longest_s=0.05)
    with pytest.raises(Unreadable, match=r"long\.pdf could not be read within 0\.05 s\. Split it"):
        await hurried.parse_file("long.pdf", long)
    await hurried.close()
    small = Parser(memory_bytes=350 * 1024**2)
    (tmp_path / "b.csv").write_text("a,b\n" + "12345,67890\n" * 1_000_000)
    with pytest.raises(Unreadable, match=r"b\.csv needs more memory to be read than it may have\. Split it"):
        await small.parse_file("b.csv", tmp_path / "b.csv")
    await small.close()


async def test_a_line_without_end_is_cut(parser: Parser) -> None:
    """A single line of 1.2 million characters, with and without blanks; no chunk is longer than it may be."""
    for text in ("word " * 240_000, "x" * 1_200_000, "字" * 400_000):
        parsed = await parser.parse("line.txt", text.encode())
        pieces = cut(parsed.text, Chunking(), media_type=parsed.media_type)
        assert max(piece.end - piece.start for piece in pieces) <= 1200
        assert sum(len(parsed.text[piece.start : piece.end].split()) for piece in pieces) >= len(text.split())


async def test_more_text_than_a_document_may_have_is_refused(tmp_path: Path) -> None:
    """Without more of it being held than that; and a file that is too large is, before it is read."""
    parser = Parser(most_chars=1000)
    files = {
        "a.txt": b"x" * 1001,
        "longer.txt": bytes(4001),  # so long that it cannot be less text, in any encoding: it is not read
        "rows.csv": b"port,depth\n" + b"Kiel,9\n" * 100,
        "page.html": b"<p>" + b"word " * 300,
    }
    for name, data in files.items():
        with pytest.raises(Unreadable, match=rf"{name} has more than 1,000 characters of text, .* Split it"):
            await parser.parse(name, data)
    assert len((await parser.parse("few.csv", b"port,depth\n" + b"Kiel,9\n" * 40)).text) < 1000
    with (tmp_path / "b.csv").open("wb") as file:
        file.truncate(1024**3)
    with pytest.raises(Unreadable, match=r"b\.csv has 1,024 MiB, and 256 MiB is the most"):
        await parser.parse_file("b.csv", tmp_path / "b.csv")
    await parser.close()
