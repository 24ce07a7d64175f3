//! What is wrong with a manifest, and how it is shown: a message, the place, and what to do next.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::value::visible;

/// How many errors are told at once.
const MOST: usize = 50;

/// One error in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// What is wrong.
    pub message: String,
    /// Where: the line, from 1. Absent when it is about the whole file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Where: the character in the line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What to do next, where the message doesn't say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The bytes of the manifest that it is about.
    #[serde(skip)]
    pub span: Option<Range<usize>>,
    /// A second place that belongs to it, and what stands there.
    #[serde(skip)]
    pub also: Option<(Range<usize>, &'static str)>,
}

impl Diagnostic {
    pub(super) fn new(span: impl Into<Option<Range<usize>>>, message: impl Into<String>) -> Self {
        let message = visible(&message.into());
        Self { message, line: None, column: None, help: None, span: span.into(), also: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(visible(&help.into()));
        self
    }
}

/// A manifest that can't be used, with everything that was found wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManifestError {
    diagnostics: Vec<Diagnostic>,
    /// How many more there were than are told.
    more: usize,
    /// The manifest's text; what could be a secret is blotted out.
    source: String,
}

impl ManifestError {
    /// The errors, in the order of their places.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The errors for people, each with the line that it is about. `path` is what to call the file;
    /// `color` adds terminal colours.
    pub fn render(&self, path: &str, color: bool) -> String {
        let path = visible(path);
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let shown = self.diagnostics.iter().map(|one| renderer.render(&[self.group(one, &path)]));
        let mut parts: Vec<String> = shown.collect();
        if self.more > 0 {
            parts.push(format!("… and {} more", self.more));
        }
        parts.join("\n\n") + "\n"
    }

    fn group<'a>(&'a self, one: &'a Diagnostic, path: &'a str) -> Group<'a> {
        let title = Level::ERROR.primary_title(one.message.as_str());
        let help = one.help.as_ref().map(|help| Level::HELP.message(help.as_str()));
        let Some(span) = &one.span else {
            return title.element(Origin::path(path)).elements(help);
        };
        // Only the lines in question are handed on: the file may be large.
        let first = one.also.as_ref().map_or(span.start, |(also, _)| also.start.min(span.start));
        let last = one.also.as_ref().map_or(span.end, |(also, _)| also.end.max(span.end));
        let text = self.source.as_str();
        let from = text.get(..first).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let to =
            text.get(last..).and_then(|after| after.find('\n')).map_or(text.len(), |at| last + at);
        let lines = text.get(from..to).unwrap_or_default();
        let line = text.get(..from).unwrap_or_default().matches('\n').count() + 1;
        let within =
            |span: &Range<usize>| span.start.saturating_sub(from)..span.end.saturating_sub(from);
        let mut snippet = Snippet::source(lines)
            .path(path)
            .line_start(line)
            .annotation(AnnotationKind::Primary.span(within(span)));
        if let Some((also, label)) = &one.also {
            snippet = snippet.annotation(AnnotationKind::Context.span(within(also)).label(*label));
        }
        title.element(snippet).elements(help)
    }
}

impl std::error::Error for ManifestError {}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.diagnostics.len() + self.more;
        let Some(first) = self.diagnostics.first() else {
            return write!(f, "the manifest can't be used");
        };
        let others =
            if count > 1 { format!(" (the first of {count} errors)") } else { String::new() };
        match (first.line, first.column) {
            (Some(line), Some(column)) => {
                write!(f, "manifest, line {line}, column {column}: {}{others}", first.message)
            }
            _ => write!(f, "manifest: {}{others}", first.message),
        }
    }
}

/// Where errors are gathered while a manifest is read.
#[derive(Debug, Default)]
pub(super) struct Sink {
    list: Vec<Diagnostic>,
    hidden: Vec<Range<usize>>,
}

impl Sink {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// How many errors there are so far.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Keeps these bytes of the manifest out of everything that is shown.
    pub fn hide(&mut self, span: Range<usize>) {
        self.hidden.push(span);
    }

    /// The error, if there was any.
    pub fn finish(self, text: &str) -> Result<(), ManifestError> {
        if self.list.is_empty() {
            return Ok(());
        }
        let mut list = self.list;
        list.sort_by_key(|one| one.span.as_ref().map_or(0, |span| span.start));
        list.dedup();
        let more = list.len().saturating_sub(MOST);
        list.truncate(MOST);
        for one in &mut list {
            one.span = one.span.take().map(|span| fit(text, span));
            one.also = one.also.take().map(|(span, label)| (fit(text, span), label));
            if let Some(span) = &one.span {
                let (line, column) = position(text, span.start);
                (one.line, one.column) = (Some(line), Some(column));
            }
        }
        Err(ManifestError { diagnostics: list, more, source: blot(text, &self.hidden) })
    }
}

/// The span, held within the text and on the edges of characters.
fn fit(text: &str, span: Range<usize>) -> Range<usize> {
    let edge = |at: usize| {
        let at = at.min(text.len());
        (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
    };
    let start = edge(span.start);
    start..edge(span.end).max(start)
}

fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// The text with what is hidden replaced by as many bytes of `*`, so that every place stays the same.
fn blot(text: &str, hidden: &[Range<usize>]) -> String {
    if hidden.is_empty() {
        return text.to_owned();
    }
    let mut hidden: Vec<Range<usize>> = hidden.iter().map(|span| fit(text, span.clone())).collect();
    hidden.sort_by_key(|span| span.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for span in hidden {
        let start = span.start.max(at);
        if span.end <= start {
            continue;
        }
        out.push_str(text.get(at..start).unwrap_or_default());
        for c in text.get(start..span.end).unwrap_or_default().chars() {
            if c == '\n' { out.push(c) } else { out.extend(std::iter::repeat_n('*', c.len_utf8())) }
        }
        at = span.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_keeps_its_place_and_shows_nothing() {
        assert_eq!(blot("a = 'üx'\nb", &[4..9, 5..6]), "a = *****\nb");
        assert_eq!(blot("ab", &[1..9, 1..1]), "a*");
        assert_eq!(blot("ü", &[1..2, 0..0]), "**");
    }

    #[test]
    fn places_are_counted_in_characters() {
        assert_eq!(position("aü\nüx", 6), (2, 2));
        assert_eq!(position("", 0), (1, 1));
    }

    #[test]
    fn spans_beyond_the_text_still_render() {
        for text in ["", "ü", "a\r\nb", "\n", "a\n"] {
            for span in [0..0, 0..1, 1..9, 9..9] {
                let mut sink = Sink::default();
                sink.push(Diagnostic {
                    also: Some((span.clone(), "here")),
                    ..Diagnostic::new(span, "x")
                });
                let error = sink.finish(text).unwrap_err();
                assert!(error.render("p", false).contains("error: x"));
                assert!(!error.render("p", true).is_empty());
            }
        }
    }
}
