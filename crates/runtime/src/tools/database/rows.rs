//! Rows on their way to the model: JSON, capped by number and by size.

use serde::Serialize;
use serde_json::value::RawValue;

/// The most bytes that the rows of one answer may have together: 1 MiB.
const MOST_BYTES: usize = 1 << 20;

/// The longest value that is shown, in characters.
pub(super) const LONGEST_VALUE: usize = 64 << 10;

/// What a statement answered.
#[derive(Default, Serialize)]
pub(super) struct Answer {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    columns: Vec<String>,
    #[serde(skip_serializing_if = "is_absent")]
    rows: Option<Vec<Vec<Value>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_affected: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip)]
    bytes: usize,
}

fn is_absent(rows: &Option<Vec<Vec<Value>>>) -> bool {
    rows.is_none()
}

/// A value in an answer.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Text(String),
    /// A number or a document, as JSON writes it.
    Json(Box<RawValue>),
}

impl Value {
    /// A number that JSON can hold without losing any of it, else its text.
    pub(super) fn number(text: String) -> Self {
        let exact = text.parse::<i64>().map_or_else(
            |_| {
                // Fifteen digits go through a double and come back as they were.
                let digits = text.bytes().filter(u8::is_ascii_digit).count();
                digits <= 15 && text.parse::<f64>().is_ok_and(f64::is_finite)
            },
            |whole| whole.unsigned_abs() < 1 << 53,
        );
        if exact { Self::json(text) } else { Self::Text(text) }
    }

    /// A JSON document as it is, unless it is none any more because it was cut.
    pub(super) fn json(text: String) -> Self {
        match RawValue::from_string(text.clone()) {
            Ok(raw) => Self::Json(raw),
            Err(_) => Self::Text(text),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 5,
            Self::Text(text) => text.len(),
            Self::Json(raw) => raw.get().len(),
        }
    }
}

impl Answer {
    /// An answer with rows, of which there are none yet.
    pub(super) fn of_columns(columns: Vec<String>) -> Self {
        Self { columns, rows: Some(Vec::new()), ..Self::default() }
    }

    /// An answer without rows.
    pub(super) fn of_change(rows_affected: u64) -> Self {
        Self { rows_affected: Some(rows_affected), ..Self::default() }
    }

    /// Takes a row in. Says whether more may come.
    pub(super) fn push(&mut self, row: Vec<Value>, row_limit: u32) -> bool {
        let rows = self.rows.get_or_insert_default();
        if rows.len() >= row_limit as usize {
            let more = if row_limit == 1 { "row" } else { "rows" };
            self.note = Some(format!("cut after {row_limit} {more}; there are more"));
            return false;
        }
        self.bytes += row.iter().map(Value::len).sum::<usize>();
        if self.bytes > MOST_BYTES {
            let note =
                format!("cut after {} rows, at {MOST_BYTES} bytes; ask for less", rows.len());
            self.note = Some(note);
            return false;
        }
        rows.push(row);
        true
    }

    /// One line for the record.
    pub(super) fn summary(&self) -> String {
        let rows = self.rows.as_ref().map(Vec::len);
        let cut = if self.note.is_some() { ", cut" } else { "" };
        match rows {
            Some(rows) => format!("{rows} rows{cut}"),
            None => format!("{} rows changed", self.rows_affected.unwrap_or(0)),
        }
    }

    pub(super) fn into_json(self) -> String {
        serde_json::to_string(&self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_would_round_are_texts() {
        let shown = |text: &str| serde_json::to_string(&Value::number(text.into())).unwrap();
        assert_eq!(shown("42"), "42");
        assert_eq!(shown("-12.50"), "-12.50");
        assert_eq!(shown("9007199254740993"), r#""9007199254740993""#);
        assert_eq!(shown("9007199254740993.00"), r#""9007199254740993.00""#);
        assert_eq!(shown("NaN"), r#""NaN""#);
        assert_eq!(shown("Infinity"), r#""Infinity""#);
    }

    #[test]
    fn rows_are_cut_by_number_and_by_size_and_the_answer_says_so() {
        let row = |text: &str| vec![Value::Text(text.to_owned())];
        let mut answer = Answer::of_columns(vec!["a".into()]);
        assert!(answer.push(row("x"), 2) && answer.push(row("y"), 2) && !answer.push(row("z"), 2));
        assert_eq!(answer.summary(), "2 rows, cut");
        let json = answer.into_json();
        assert_eq!(
            json,
            r#"{"columns":["a"],"rows":[["x"],["y"]],"note":"cut after 2 rows; there are more"}"#
        );
        let mut answer = Answer::of_columns(vec!["a".into()]);
        assert!(answer.push(row(&"x".repeat(MOST_BYTES)), 9) && !answer.push(row("y"), 9));
        assert!(answer.into_json().contains("cut after 1 rows, at 1048576 bytes"));
    }
}
