//! Rust source as far as the checks need it: what is code, what is a comment, what is a literal, and
//! which lines exist only in tests. By the Rust Reference, chapter "Lexical structure".

/// One file, taken apart. All texts have the lines of the original.
pub struct Source {
    /// Comments and literals are blank.
    pub code: String,
    /// Literals are blank; comments stand as they are.
    pub code_and_comments: String,
    /// Comments are blank.
    code_and_literals: String,
    /// For each line, whether it belongs to an item under `#[cfg(test)]`.
    test: Vec<bool>,
}

impl Source {
    pub fn read(text: &str) -> Self {
        let mut source = Source {
            code: String::new(),
            code_and_comments: String::new(),
            code_and_literals: String::new(),
            test: Vec::new(),
        };
        let mut rest = text;
        while !rest.is_empty() {
            let (kind, length) = first(rest);
            // The length is never nought and never within a character, so that this always goes on.
            let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
            let blank = || piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' });
            let (is_comment, is_literal) = (kind == Kind::Comment, kind == Kind::Literal);
            for (text, is_blank) in [
                (&mut source.code, is_comment || is_literal),
                (&mut source.code_and_comments, is_literal),
                (&mut source.code_and_literals, is_comment),
            ] {
                if is_blank {
                    text.extend(blank());
                } else {
                    text.push_str(piece);
                }
            }
            rest = after;
        }
        source.test = test_lines(&source.code);
        source
    }

    /// Whether a line, counted from 1, exists only in tests.
    pub fn is_test(&self, line: usize) -> bool {
        self.test.get(line - 1).copied().unwrap_or(false)
    }

    /// How many lines of code there are: neither blank, nor comment alone, nor tests.
    pub fn lines_of_code(&self) -> usize {
        (1..)
            .zip(self.code_and_literals.lines())
            .filter(|(number, line)| !line.trim().is_empty() && !self.is_test(*number))
            .count()
    }
}

/// The places of a word: not within a longer one. Lines are counted from 1.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    (1..).zip(text.lines()).flat_map(move |(number, line)| {
        line.match_indices(word)
            .filter(move |(at, _)| {
                let before = line.get(..*at).and_then(|text| text.chars().next_back());
                let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
                !before.is_some_and(is_part) && !after.is_some_and(is_part)
            })
            .map(move |_| number)
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// The kind and the length in bytes of what a text begins with.
fn first(text: &str) -> (Kind, usize) {
    if text.starts_with("//") {
        return (Kind::Comment, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (Kind::Comment, block_comment(text));
    }
    if text.starts_with('"') {
        return (Kind::Literal, quoted(text, '"'));
    }
    if let Some(after) = text.strip_prefix('\'') {
        let mut characters = after.chars();
        return match (characters.next(), characters.next()) {
            (Some('\\'), _) => (Kind::Literal, quoted(text, '\'')),
            (Some(one), Some('\'')) => (Kind::Literal, one.len_utf8() + 2),
            // A lifetime or a label.
            _ => (Kind::Code, 1),
        };
    }
    let word = word_length(text);
    let (word_text, after) = text.split_at_checked(word).unwrap_or(("", text));
    if matches!(word_text, "r" | "br" | "cr") {
        let hashes = after.len() - after.trim_start_matches('#').len();
        let close = format!("\"{}", "#".repeat(hashes));
        if let Some(body) = after.trim_start_matches('#').strip_prefix('"') {
            let end = body.find(&close).map_or(body.len(), |at| at + close.len());
            return (Kind::Literal, word + hashes + 1 + end);
        }
    }
    let one = text.chars().next().map_or(1, char::len_utf8);
    (Kind::Code, word.max(one))
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// The length of a literal that begins and ends with a quote and escapes with a backslash.
fn quoted(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return at + quote.len_utf8();
        }
    }
    text.len()
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("/*") {
            depth += 1;
            rest = after;
        } else if let Some(after) = rest.strip_prefix("*/") {
            depth -= 1;
            rest = after;
            if depth == 0 {
                break;
            }
        } else {
            let mut characters = rest.chars();
            characters.next();
            rest = characters.as_str();
        }
    }
    text.len() - rest.len()
}

/// Which lines belong to an item that exists only in tests. An item ends with its block or, where it
/// has none, with its semicolon, so that code below a `#[cfg(test)] mod tests;` still counts.
fn test_lines(code: &str) -> Vec<bool> {
    let mut test: Vec<bool> = code.lines().map(|_| false).collect();
    if code.contains("#![cfg(test)]") {
        test.fill(true);
    }
    for attribute in ["#[cfg(test)]", "#[cfg(all(test,"] {
        for (start, _) in code.match_indices(attribute) {
            let (before, item) = code.split_at_checked(start).unwrap_or((code, ""));
            let first = before.matches('\n').count();
            let length = item_length(item);
            let lines = item.get(..length).unwrap_or(item).matches('\n').count() + 1;
            for line in test.iter_mut().skip(first).take(lines) {
                *line = true;
            }
        }
    }
    test
}

/// The length of an item that begins with an attribute.
fn item_length(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in item.char_indices() {
        match character {
            ';' if depth == 0 => return at + 1,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return at,
            ')' | ']' => depth -= 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    item.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn code(text: &str, expected: &str) {
        assert_eq!(Source::read(text).code, expected);
    }

    #[test]
    fn comments_and_literals_are_told_from_code() {
        code("a // b", "a     ");
        code("a /* b /* c */ d */ e", "a                   e");
        code("f(\"x // \\\" y\") // z", "f(           )     ");
        code("r#\"a \" b\"# + 1", "           + 1");
        code("br\"\\\" c", "      c");
        code("r#fn(\"\")", "r#fn(  )");
        code("'a' 'b: '\\'' '\\u{1f}'", "    'b:              ");
        code("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
        code("\"never closed", "             ");
        code("/* never closed", "               ");
        code("'", "'");
        code("\"a\nb\"\nc", "  \n  \nc");
    }

    #[test]
    fn a_line_of_code_is_neither_blank_nor_a_comment() {
        let text = "//! doc\n\nuse a; // b\n/* c\nd */ e\n/// doc\nfn f() {\n    \"x\n// y\"\n}\n";
        assert_eq!(Source::read(text).lines_of_code(), 6);
    }

    #[test]
    fn tests_do_not_count_and_what_follows_them_does() {
        let text = "a();\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        assert_eq!(Source::read(text).lines_of_code(), 1);
        let text = "#[cfg(test)]\nmod tests;\nfn a() {}\n#[cfg(test)]\n#[path = \"x\"]\nfn b<A, B>(\n) {\n c();\n}\nd";
        let source = Source::read(text);
        assert_eq!(source.lines_of_code(), 2);
        assert!(source.is_test(8) && !source.is_test(10));
        assert_eq!(Source::read("#![cfg(test)]\nfn a() {}").lines_of_code(), 0);
        // In a comment or a literal it says nothing.
        assert_eq!(Source::read("// #[cfg(test)]\nfn a() {\n}\n").lines_of_code(), 2);
        assert_eq!(Source::read("f(\"#[cfg(test)]\");\ng();\n").lines_of_code(), 2);
    }

    #[test]
    fn words_are_whole() {
        let found: Vec<_> = words("ab\nab_ xab\n(ab) ab", "ab").collect();
        assert_eq!(found, [1, 3, 3]);
    }
}
