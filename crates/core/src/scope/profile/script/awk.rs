//! awk: whether a program runs commands, writes or reads files of its own, or shows the environment.

use std::iter::Peekable;
use std::str::CharIndices;

use super::super::Effect;
use super::super::kind::Wrong;

/// Judges a program by its tokens.
pub(in super::super) fn check(program: &str) -> Result<(), Wrong> {
    let mut rest = program.char_indices().peekable();
    // Whether the last token ends an operand, so that a `/` divides.
    let mut after_operand = false;
    let mut depth = 0_usize;
    // The depth of parentheses at which a `print` stands whose end is not yet there.
    let mut print: Option<usize> = None;
    // The last character that is no blank; after some, a statement goes on in the next line.
    let mut last = ' ';
    while let Some((at, c)) = rest.next() {
        let next = rest.peek().map(|(_, next)| *next);
        let mut operand = false;
        match c {
            '\n' if matches!(last, ',' | '&' | '|') => {}
            '\n' | ';' | '}' => print = None,
            '\\' if next == Some('\n') => {
                rest.next();
                operand = after_operand;
            }
            c if c.is_whitespace() => operand = after_operand,
            '#' => while rest.next_if(|(_, c)| *c != '\n').is_some() {},
            '"' => {
                quoted(&mut rest, '"')?;
                operand = true;
            }
            '/' if !after_operand => {
                quoted(&mut rest, '/')?;
                operand = true;
            }
            '(' => depth += 1,
            ')' => {
                depth = depth.saturating_sub(1);
                operand = true;
            }
            ']' => operand = true,
            '+' | '-' if next == Some(c) => {
                rest.next();
                operand = after_operand;
            }
            '|' if next == Some('|') => {
                rest.next();
            }
            '|' => return Err((Effect::Runs, "runs a command (awk's `|`)".to_owned())),
            '@' => return Err((Effect::Runs, "loads or calls by a name (awk's `@`)".to_owned())),
            '>' if print.is_some_and(|start| depth <= start) => {
                return Err((Effect::Writes, "writes a file (awk's `>`)".to_owned()));
            }
            c if c.is_alphanumeric() || matches!(c, '_' | '.') => {
                let mut end = at + c.len_utf8();
                while let Some((at, c)) =
                    rest.next_if(|(_, c)| c.is_alphanumeric() || matches!(c, '_' | '.'))
                {
                    end = at + c.len_utf8();
                }
                operand = true;
                match program.get(at..end).unwrap_or_default() {
                    "print" | "printf" => {
                        print = Some(depth);
                        operand = false;
                    }
                    "system" => {
                        return Err((Effect::Runs, "runs a command (awk's `system`)".to_owned()));
                    }
                    "getline" => {
                        return Err((
                            Effect::Reads,
                            "reads a file or a command (awk's `getline`)".to_owned(),
                        ));
                    }
                    "ENVIRON" => {
                        return Err((
                            Effect::Credential,
                            "reads the environment (awk's `ENVIRON`)".to_owned(),
                        ));
                    }
                    "ARGV" | "ARGC" => {
                        return Err((
                            Effect::Reads,
                            "changes which files are read (awk's `ARGV`)".to_owned(),
                        ));
                    }
                    "return" | "in" | "else" | "do" | "delete" | "exit" => operand = false,
                    _ => {}
                }
            }
            _ => {}
        }
        after_operand = operand;
        if !c.is_whitespace() {
            last = c;
        }
    }
    Ok(())
}

/// To the quote's end. A slash within brackets may end an expression or not, as the awk at hand pleases.
fn quoted(rest: &mut Peekable<CharIndices<'_>>, end: char) -> Result<(), Wrong> {
    let unclear =
        || (Effect::Runs, "is an awk program that can't be told to be harmless".to_owned());
    let mut brackets = false;
    while let Some((_, c)) = rest.next() {
        match c {
            c if c == end && brackets => return Err(unclear()),
            c if c == end => return Ok(()),
            '\\' => {
                rest.next();
            }
            '[' if end == '/' => brackets = true,
            ']' => brackets = false,
            '\n' => return Err(unclear()),
            _ => {}
        }
    }
    Err(unclear())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_only_print_are_told_from_others() {
        for program in [
            "{print $1}",
            "{ print $1, $NF }",
            "$3 > 100 {print $1}",
            "/error/ {n++} END {print n}",
            "BEGIN{FS=\":\"} {print $1 \" > \" $2}",
            "{s+=$1} END {printf \"%d\\n\", s/NR}",
            "NR==1 || /x|y/ {print (a > b)}",
            "{a[$1]++} END {for (k in a) if (a[k] > 2) print k, a[k]}",
            "{x = $1 / 2 / 3; print x}",
            "length($0) > 80",
            "{ if ($1 > 3) { print } }",
            "{system_time = 1; print system_time}",
            "$1 ~ /a\\/b/",
        ] {
            assert_eq!(check(program), Ok(()), "{program}");
        }
        for program in [
            "BEGIN{system(\"id\")}",
            "BEGIN{system (\"id\")}",
            "{print > \"/tmp/f\"}",
            "{print $1 >> \"f\"}",
            "{printf \"x\" > \"f\"}",
            "{print(1) > \"f\"}",
            "{print | \"sh\"}",
            "{\"id\" | getline x}",
            "BEGIN{while((getline l < \"/etc/passwd\")>0) print l}",
            "BEGIN{print ENVIRON[\"TOKEN\"]}",
            "BEGIN{ARGV[1]=\"/etc/shadow\"; ARGC=2}",
            "@load \"filefuncs\"",
            "@include \"x\"",
            "BEGIN{f=\"system\"; @f(\"id\")}",
            "BEGIN{awk::system(\"id\")}",
            "{print \"x\" |& \"sh\"}",
            "a/b; print > \"f\" #/",
            "/[/]/ {system(\"id\")} /]/",
            "{print \"unterminated}",
            "{print 1,\n2 > \"f\"}",
        ] {
            assert!(check(program).is_err(), "{program}");
        }
    }
}
