//! sed: whether a script reads or writes files, or runs commands.

use std::iter::Peekable;
use std::str::Chars;

use super::super::Effect;
use super::super::kind::Wrong;

/// Judges a script by the commands in it.
pub(in super::super) fn check(script: &str) -> Result<(), Wrong> {
    let mut scan = Scan { rest: script.chars().peekable() };
    while scan.command()? {}
    Ok(())
}

struct Scan<'s> {
    rest: Peekable<Chars<'s>>,
}

fn unclear() -> Wrong {
    (Effect::Runs, "is a sed script that can't be told to be harmless".to_owned())
}

impl Scan<'_> {
    /// Reads one command; whether there was one.
    fn command(&mut self) -> Result<bool, Wrong> {
        self.skip(|c| c.is_whitespace() || matches!(c, ';' | '{' | '}'));
        if self.rest.peek().is_none() {
            return Ok(false);
        }
        self.addresses()?;
        let Some(command) = self.rest.next() else {
            return Err(unclear());
        };
        match command {
            '{' | '}' | '=' | 'd' | 'D' | 'g' | 'G' | 'h' | 'H' | 'n' | 'N' | 'p' | 'P' | 'x'
            | 'z' | 'F' => {}
            'l' | 'L' | 'q' | 'Q' => self.skip(|c| c == ' ' || c.is_ascii_digit()),
            'a' | 'i' | 'c' => self.text(),
            '#' => self.skip(|c| c != '\n'),
            ':' => self.label(true)?,
            'b' | 't' | 'T' | 'v' => self.label(false)?,
            's' => {
                let delimiter = self.delimiter()?;
                self.until(delimiter)?;
                self.until(delimiter)?;
                self.flags()?;
            }
            'y' => {
                let delimiter = self.delimiter()?;
                self.until(delimiter)?;
                self.until(delimiter)?;
            }
            'e' => return Err((Effect::Runs, "runs a command (sed's `e`)".to_owned())),
            'r' | 'R' => return Err((Effect::Reads, "reads a file (sed's `r`)".to_owned())),
            'w' | 'W' => return Err((Effect::Writes, "writes a file (sed's `w`)".to_owned())),
            _ => return Err(unclear()),
        }
        Ok(true)
    }

    /// A label of plain letters, to the end of its command. Where a label ends that holds a blank, a
    /// brace or the like differs by version, and so would what follows it.
    fn label(&mut self, is_set: bool) -> Result<(), Wrong> {
        let blank = |c: char| matches!(c, ' ' | '\t');
        self.skip(blank);
        self.skip(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        // Behind a blank a command follows, or the label goes on to the line's end, and what follows is
        // none: in a single line both are harmless where the command is.
        if is_set && self.rest.peek().is_some_and(|c| blank(*c)) {
            let rest = self.rest.clone();
            return if rest.clone().any(|c| c == '\n') { Err(unclear()) } else { Ok(()) };
        }
        self.skip(blank);
        match self.rest.peek() {
            None | Some('\n' | ';') => Ok(()),
            // A closing brace is fine where a label that held it would end with it, so that the next
            // command is the same.
            Some('}') => {
                let next = self.rest.clone().find(|c| *c != '}');
                let ends = next.is_none_or(|c| matches!(c, ';' | ' ' | '\t' | '\n'));
                let is_last =
                    || self.rest.clone().all(|c| matches!(c, '}' | ';' | ' ' | '\t' | '\n'));
                if ends && !is_set || is_last() { Ok(()) } else { Err(unclear()) }
            }
            Some(_) => Err(unclear()),
        }
    }

    fn addresses(&mut self) -> Result<(), Wrong> {
        loop {
            match self.rest.peek() {
                Some(c)
                    if c.is_ascii_digit()
                        || matches!(c, '$' | ',' | '~' | '+' | '!' | ' ' | '\t') =>
                {
                    self.rest.next();
                }
                Some('/') => {
                    self.rest.next();
                    self.until('/')?;
                    self.skip(|c| matches!(c, 'I' | 'M'));
                }
                Some('\\') => {
                    self.rest.next();
                    let delimiter = self.delimiter()?;
                    self.until(delimiter)?;
                    self.skip(|c| matches!(c, 'I' | 'M'));
                }
                _ => return Ok(()),
            }
        }
    }

    fn delimiter(&mut self) -> Result<char, Wrong> {
        self.rest.next().filter(|c| !matches!(c, '\n' | '\\')).ok_or_else(unclear)
    }

    /// To the next delimiter that no backslash stands before. Brackets don't protect one.
    fn until(&mut self, delimiter: char) -> Result<(), Wrong> {
        while let Some(c) = self.rest.next() {
            match c {
                c if c == delimiter => return Ok(()),
                '\\' => {
                    self.rest.next();
                }
                _ => {}
            }
        }
        Err(unclear())
    }

    fn flags(&mut self) -> Result<(), Wrong> {
        while let Some(c) = self.rest.peek() {
            match c {
                'g' | 'p' | 'i' | 'I' | 'm' | 'M' | '0'..='9' => {
                    self.rest.next();
                }
                'e' => return Err((Effect::Runs, "runs a command (sed's `s///e`)".to_owned())),
                'w' => return Err((Effect::Writes, "writes a file (sed's `s///w`)".to_owned())),
                c if c.is_whitespace() || matches!(c, ';' | '}' | '#') => return Ok(()),
                _ => return Err(unclear()),
            }
        }
        Ok(())
    }

    /// The text of `a`, `i` and `c`: to the end of a line that doesn't end in a backslash.
    fn text(&mut self) {
        while let Some(c) = self.rest.next() {
            match c {
                '\n' => return,
                '\\' => {
                    self.rest.next();
                }
                _ => {}
            }
        }
    }

    fn skip(&mut self, is: impl Fn(char) -> bool) {
        while self.rest.next_if(|c| is(*c)).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_that_only_edit_are_told_from_others() {
        for script in [
            "s/a/b/",
            "s|/usr|/opt|g",
            "1,5p",
            "$!d",
            "/error/p",
            "/a/,/b/{s/x/y/;p}",
            "s/a/w e r/gI",
            "\\,a,d",
            "y/abc/xyz/",
            "a\\\nhello w file\ni\\\nx",
            "2q",
            ":a;N;$!ba;s/\\n/ /g",
            "0~3d",
            "s/\\/e/x/",
            "1!G;h;$!d",
            "s/e/w/;s/w/e/",
            ":a;N;$!ba;s/\n/ /g",
            "/a/{p;b}",
            "/a/b end\np\n: end",
            ":a s/^(\\**)[0-9]/\\1*/; ta",
            ":d s/fin//; td",
            "/^-/{s///; b}; s/^/-/",
            "${s/$/ :end/; b}; 1 s/^/start: /",
        ] {
            assert_eq!(check(script), Ok(()), "{script}");
        }
        for script in [
            "e id",
            "1e",
            "s/a/id/e",
            "s/a/b/ge",
            "s/a/b/w out",
            "w out",
            "r /etc/passwd",
            "R f",
            "W f",
            "1,$w out",
            "/x/ e id",
            "p;e id",
            "{p};w f",
            "s/a",
            "s/[/]e/x/e",
            "k",
            "y/a/b/e",
            "{e id\n}",
            "a hello\ne id",
            "b x w out",
            ":a w out",
            ":a e id",
            ":a a\\\nw out",
            ":a s/x/\\\nw out/",
            ":a p\nw out",
            ":a p; w out",
            "/x/{b}w out",
            "/x/{b}; w out",
            "/x/{bx}s/a/;w out/",
            "/x/{b} e id",
            ":}; w out",
            ":}s/a/;w out\n/",
            "bx}s/a/;w out\n/",
        ] {
            assert!(check(script).is_err(), "{script}");
        }
    }
}
