//! JSON as CSV: an object is a row, and values nested in it have columns of their own.
//!
//! The header is the union of the columns of all rows, sorted by name, so the rows are read twice:
//! [`Columns`] collects the columns, [`Table`] writes the rows. `a.b` names both a key `b` within `a` and a
//! key `a.b`; if both occur, they are two columns with the same name.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use csv::{Terminator, Writer, WriterBuilder};

use super::error::Error;
use crate::person::json;

/// Precedes each step of a path. No key contains it: NUL is replaced when a record is read.
const STEP: char = '\0';

/// The column of the requested id, if the results are keyed by it.
const ASKED: &str = "asked";

/// The longest header of an answer with several rows, in bytes. It limits the columns, which must be held in
/// memory and grow with the properties that persons have.
pub const MAX_HEADER: usize = 1 << 20;

/// The error for an answer that cannot be written as a table.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

impl From<Broken> for Error {
    fn from(_: Broken) -> Self {
        tracing::error!("an answer was not JSON, or its rows changed while they were read");
        Self::internal()
    }
}

/// A row: a JSON object, and the requested id if the results are keyed by it.
#[derive(Clone, Debug)]
pub struct Row<'j> {
    asked: Option<Cow<'j, str>>,
    json: &'j str,
}

impl<'j> Row<'j> {
    /// Creates the row of a JSON object.
    pub fn of(json: &'j [u8]) -> Result<Self, Broken> {
        Ok(Self { asked: None, json: std::str::from_utf8(json).map_err(|_| Broken)? })
    }

    /// Calls `each` with the path and the content of every cell.
    fn cells(&self, each: &mut Each<'_>) -> Result<(), Broken> {
        if let Some(asked) = &self.asked {
            each(&format!("{STEP}{ASKED}"), Cell::Text(asked))?;
        }
        cells(&mut String::new(), self.json, each)
    }
}

type Each<'e> = dyn FnMut(&str, Cell<'_>) -> Result<(), Broken> + 'e;

/// The content of a cell.
enum Cell<'j> {
    Text(&'j str),
    /// JSON that is neither an object nor an array.
    Json(&'j str),
}

impl<'j> Cell<'j> {
    fn text(self) -> Result<Cow<'j, str>, Broken> {
        Ok(match self {
            Self::Text(text) => inert(Cow::Borrowed(text)),
            Self::Json("null") => Cow::Borrowed(""),
            Self::Json(json) if json.starts_with('"') => inert(json::string(json).ok_or(Broken)?),
            Self::Json(json) => Cow::Borrowed(json),
        })
    }
}

fn cells(path: &mut String, json: &str, each: &mut Each<'_>) -> Result<(), Broken> {
    let length = path.len();
    let mut within = |step: &str, json: &str| {
        path.push(STEP);
        path.push_str(step);
        let done = cells(path, json, each);
        path.truncate(length);
        done
    };
    if json.starts_with('{') {
        let mut done = Ok(());
        let read = json::fields(json, |key, value| {
            if done.is_ok() {
                done = within(&key, value);
            }
        });
        read.map_err(|_| Broken).and(done)
    } else if json.starts_with('[') {
        let mut items = json::elements(json).map_err(|_| Broken)?.into_iter().enumerate();
        items.try_for_each(|(index, item)| within(&index.to_string(), item))
    } else {
        each(path, Cell::Json(json))
    }
}

/// Returns a text that no spreadsheet runs: one that would begin a formula gets an apostrophe before it.
/// Leading blanks are ignored, since some programs strip them. Fullwidth characters count as well, since some
/// programs take them for the ASCII ones.
fn inert(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_blank = |c: char| c.is_whitespace() || c == '\u{feff}';
    let shown = text.trim_start_matches(is_blank);
    let runs = text.starts_with(['\t', '\r', '\n'])
        || shown.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    if runs { Cow::Owned(format!("'{text}")) } else { text }
}

/// The columns of all rows so far.
#[derive(Debug, Default)]
pub struct Columns {
    paths: HashSet<String>,
    bytes: usize,
}

impl Columns {
    /// Adds the columns of a row.
    pub fn note(&mut self, row: &Row<'_>) -> Result<(), Broken> {
        row.cells(&mut |path, _| {
            if !self.paths.contains(path) {
                self.bytes += path.len();
                self.paths.insert(path.to_owned());
            }
            Ok(())
        })
    }

    /// Returns the approximate length of the header, in bytes.
    pub fn length(&self) -> usize {
        self.bytes
    }

    /// Creates a table of these columns and writes its header.
    pub fn table(self) -> Result<Table, Broken> {
        let name = |path: &str| path.trim_start_matches(STEP).replace(STEP, ".");
        let mut named: Vec<_> = self.paths.into_iter().map(|path| (name(&path), path)).collect();
        named.sort_unstable();
        let mut writer = writer();
        if !named.is_empty() {
            let header = named.iter().map(|(name, _)| inert(Cow::Borrowed(name)).into_owned());
            writer.write_record(header).map_err(|_| Broken)?;
        }
        let columns = named.into_iter().enumerate().map(|(index, (_, path))| (path, index));
        let columns: HashMap<_, _> = columns.collect();
        Ok(Table { cells: vec![0..0; columns.len()], columns, text: String::new(), writer })
    }
}

/// A table being written.
pub struct Table {
    /// The index of each column, by its path.
    columns: HashMap<String, usize>,
    /// The cells of the current row, one after the other.
    text: String,
    /// The range of each column in `text`; empty if the row has no such cell.
    cells: Vec<Range<usize>>,
    writer: Writer<Vec<u8>>,
}

impl Table {
    /// Writes a row. All of its columns must have been noted.
    pub fn row(&mut self, row: &Row<'_>) -> Result<(), Broken> {
        self.text.clear();
        self.cells.fill(0..0);
        row.cells(&mut |path, cell| {
            let start = self.text.len();
            self.text.push_str(&cell.text()?);
            let column = *self.columns.get(path).ok_or(Broken)?;
            self.cells[column] = start..self.text.len();
            Ok(())
        })?;
        for cell in &self.cells {
            self.writer.write_field(&self.text[cell.clone()]).map_err(|_| Broken)?;
        }
        if !self.cells.is_empty() {
            self.writer.write_record(None::<&[u8]>).map_err(|_| Broken)?;
        }
        Ok(())
    }

    /// Returns the approximate number of bytes that were written and not taken.
    pub fn length(&self) -> usize {
        self.writer.get_ref().len()
    }

    /// Takes the bytes that were written.
    pub fn take(&mut self) -> Result<Vec<u8>, Broken> {
        std::mem::replace(&mut self.writer, writer()).into_inner().map_err(|_| Broken)
    }
}

fn writer() -> Writer<Vec<u8>> {
    WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new())
}

/// Converts an answer to CSV: a row for each of its `results`, or one row if it has none. If there are
/// several rows, the header and the whole are limited, the latter to `most` bytes: a few rows with very many
/// columns would make all rows long.
pub fn of_answer(json: &[u8], most: usize) -> Result<Vec<u8>, Error> {
    let rows = rows(Row::of(json)?)?;
    let are_several = rows.len() > 1;
    let mut columns = Columns::default();
    for row in &rows {
        columns.note(row)?;
        if are_several && columns.length() > MAX_HEADER {
            return Err(Error::too_many_columns());
        }
    }
    let mut table = columns.table()?;
    for row in &rows {
        table.row(row)?;
        if are_several && table.length() > most {
            return Err(Error::page_too_large());
        }
    }
    Ok(table.take()?)
}

fn rows(answer: Row<'_>) -> Result<Vec<Row<'_>>, Broken> {
    let mut results = None;
    let read = json::fields(answer.json, |name, value| {
        if name == "results" && value.starts_with(['[', '{']) {
            results = Some(value);
        }
    });
    read.map_err(|_| Broken)?;
    let Some(results) = results else { return Ok(vec![answer]) };
    if results.starts_with('[') {
        let items = json::elements(results).map_err(|_| Broken)?;
        return Ok(items.into_iter().map(|json| Row { asked: None, json }).collect());
    }
    let mut rows = Vec::new();
    let read = json::fields(results, |asked, json| rows.push(Row { asked: Some(asked), json }));
    read.map_err(|_| Broken)?;
    Ok(rows)
}
