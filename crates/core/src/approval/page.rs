//! A question as it stands on a terminal: at the run's own, and wherever else a listed person looks at
//! it. Every hostile character is visible, and no value can pass for a line of the question.

use super::question::{Question, Shown};
use crate::display::{Mode, escape, fold, width};

/// Where the further lines of a value begin that stands beneath its label, in columns.
const CONTINUED: usize = 6;

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Lines.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

/// The question as it stands on a terminal of this size, up to what is to be typed.
pub fn page(question: &Question, size: Size) -> String {
    let mut page = Page { size, text: String::new() };
    page.text.push('\n');
    page.put("── approval needed: ", &question.message);
    page.put("  token       ", &question.token_name);
    page.put("  scope       ", &question.scope);
    if question.uses_left > 0 {
        page.put_text("  uses left   ", &format!("{} (this one included)", question.uses_left));
    }
    if !question.lines.is_empty() && question.action_digest.is_some() {
        page.put_text("  exactly this will run:", "");
    }
    let columns = question.lines.iter().map(|(label, _)| label.chars().count()).max();
    let columns = columns.unwrap_or(0);
    for (label, value) in &question.lines {
        page.put(&format!("    {:columns$}  ", escape(label, Mode::Line)), value);
    }
    if let Some(digest) = &question.action_digest {
        page.put_text("  digest      ", &digest.to_string());
        page.put("  confined    ", &question.confined);
    }
    if let Some(words) = &question.rationale {
        page.put("  the model says (it may be wrong or lying): ", words);
    }
    for (index, choice) in question.choices.iter().enumerate() {
        page.put(&format!("  [{}] ", index + 1), choice);
    }
    page.note_what_is_out_of_sight(question.left_out());
    page.text
}

/// A question that is being written.
struct Page {
    size: Size,
    text: String,
}

impl Page {
    fn put_text(&mut self, lead: &str, text: &str) {
        self.put(lead, &Shown { text: text.to_owned(), left_out: 0 });
    }

    /// Puts a value after its label, every hostile character visible. Where the value takes more
    /// than one line, each further one begins with a mark of ours, so that nothing in a value can
    /// pass for a line of the question.
    fn put(&mut self, lead: &str, value: &Shown) {
        let mut shown = escape(&value.text, Mode::Line);
        if value.left_out > 0 {
            shown.push_str(&format!(" … and {} more characters", value.left_out));
        }
        // What fits into a line of its own, such as a digest, is not broken; and a long label takes
        // a line of its own where little room is left beside it.
        let fits = |indent: usize| indent + width(&shown) <= self.size.columns;
        let beside =
            fits(width(lead)) || (width(lead) * 2 <= self.size.columns && !fits(CONTINUED));
        let indent = if beside { width(lead) } else { CONTINUED };
        let lines = fold(&shown, self.size.columns.saturating_sub(indent));
        self.text.push_str(lead);
        for (index, line) in lines.iter().enumerate() {
            if index > 0 || !beside {
                let mark = indent.saturating_sub(2);
                self.text.push_str(&format!("\n{:mark$}┊ ", ""));
            }
            self.text.push_str(line);
        }
        self.text.push('\n');
    }

    /// A person must not say yes to what they can't see without knowing that there is more.
    fn note_what_is_out_of_sight(&mut self, hidden: u64) {
        let rows = self.text.lines().count() + 1;
        if rows > self.size.rows {
            let above = "lines long; scroll up and read all of them";
            self.text.push_str(&format!("  note: this question is {rows} {above}\n"));
        }
        if hidden > 0 {
            let what = "characters of it are not shown; deny it unless you know them";
            self.text.push_str(&format!("  note: {hidden} {what}\n"));
        }
    }
}
