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
            // gawk goes on after the marks of a conditional, too.
            '\n' if matches!(last, ',' | '&' | '|' | '?' | ':') => {}
            '\n' | ';' | '}' => print = None,
            '\\' if next == Some('\n') => {
                rest.next();
                operand = after_operand;
            }
            '\\' => return Err(unclear()),
            c if c.is_whitespace() => operand = after_operand,
            '#' => {
                // What stood before a comment is what the next line may go on with.
                while rest.next_if(|(_, c)| *c != '\n').is_some() {}
                continue;
            }
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
            '>' if print.is_some_and(|start| depth <= start)
                && !is_standard(program.get(at..).unwrap_or_default()) =>
            {
                return Err((Effect::Writes, "writes a file (awk's `>`)".to_owned()));
            }
            '0'..='9' | '.' => {
                number(&mut rest)?;
                operand = true;
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let mut end = at + c.len_utf8();
                while let Some((at, c)) =
                    rest.next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '_')
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
                    "getline" if takes_next(program.get(end..).unwrap_or_default()) => {
                        operand = false;
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
                    "ARGV" | "ARGC" | "SYMTAB" | "FUNCTAB" => {
                        return Err((
                            Effect::Reads,
                            "changes which files are read (awk's `ARGV`)".to_owned(),
                        ));
                    }
                    "return" | "in" | "else" | "do" | "delete" | "exit" => operand = false,
                    _ => {}
                }
            }
            // One awk may take such a letter for part of a name where another doesn't.
            c if !c.is_ascii() => return Err(unclear()),
            _ => {}
        }
        after_operand = operand;
        if !c.is_whitespace() {
            last = c;
        }
    }
    Ok(())
}

fn unclear() -> Wrong {
    (Effect::Runs, "is an awk program that can't be told to be harmless".to_owned())
}

/// Whether a `getline` takes the next record of what is read anyway: behind it stands a plain name at most, and then
/// the end of its statement or a closing parenthesis.
fn takes_next(rest: &str) -> bool {
    let blank = |c: char| matches!(c, ' ' | '\t');
    let rest = rest.trim_start_matches(blank);
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let rest = rest.trim_start_matches(blank);
    rest.is_empty() || rest.starts_with([';', '}', ')', '\n'])
}

/// Whether a `>` leads to where output goes anyway, and nothing is joined to that name.
fn is_standard(rest: &str) -> bool {
    let blank = |c: char| matches!(c, ' ' | '\t');
    let rest = rest.trim_start_matches('>').trim_start_matches(blank);
    let named = ["\"/dev/stderr\"", "\"/dev/stdout\""].iter().find_map(|it| rest.strip_prefix(it));
    named
        .map(|rest| rest.trim_start_matches(blank))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([';', '}', '\n']))
}

/// The rest of a number. A name that begins where its digits end is one of its own to awk, and not to
/// a person: `1system("id")` is refused, whatever it would do.
fn number(rest: &mut Peekable<CharIndices<'_>>) -> Result<(), Wrong> {
    let digits = |rest: &mut Peekable<CharIndices<'_>>| {
        while rest.next_if(|(_, c)| c.is_ascii_digit() || *c == '.').is_some() {}
    };
    digits(rest);
    if rest.next_if(|(_, c)| matches!(c, 'e' | 'E')).is_some() {
        let _ = rest.next_if(|(_, c)| matches!(c, '+' | '-'));
        if !rest.peek().is_some_and(|(_, c)| c.is_ascii_digit()) {
            return Err(unclear());
        }
        digits(rest);
    }
    match rest.peek() {
        Some((_, c)) if c.is_alphanumeric() || *c == '_' => Err(unclear()),
        _ => Ok(()),
    }
}

/// To the quote's end. A slash within brackets may end an expression or not, as the awk at hand pleases.
fn quoted(rest: &mut Peekable<CharIndices<'_>>, end: char) -> Result<(), Wrong> {
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
            "$1 > 1.5e3 {print $2*.5, 1e-3}",
            "# a comment\n{print $1} # another\n{print $2}",
            "{print \"größe\" $1}",
            "$1 ~ /a\\/b/",
            "/x/{getline; print}",
            "BEGIN{getline}",
            "{getline line; print line}",
            "{while ((getline line) > 0) n++}",
            "{print $1 > \"/dev/stderr\"}",
            "{printf(\"%s\", $1) >> \"/dev/stdout\"; n++}",
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
            "{print 1, # more\n2 > \"f\"}",
            "{print 1 ? 2 :\n3 > \"f\"}",
            "{print 1 \\\r\n > \"f\"}",
            "BEGIN{x=1system(\"id\")}",
            "BEGIN{x=1.5system(\"id\")}",
            "BEGIN{x=1e3system(\"id\")}",
            "BEGIN{x=1esystem(\"id\")}",
            "BEGIN{print 1ENVIRON[\"X\"]}",
            "{getline < \"f\"}",
            "{getline x < \"f\"}",
            "{getline a[1] < \"f\"}",
            "{getline $1 < \"f\"}",
            "{getline x <\"f\"; print}",
            "{getline\\\n < \"f\"}",
            "{\"id\" | getline}",
            "{\"id\" |& getline}",
            "{print > \"/dev/stderr\" \"x\"}",
            "{print > \"/dev/stderr\"\"/../../tmp/f\"}",
            "{print > \"/dev/stderrx\"}",
            "{print > \"/dev/stderr\" > \"f\"}",
            "{print > \"/dev/tcp\"}",
            "{print >> > \"f\"}",
            "BEGIN{SYMTAB[\"ARGC\"]=2}",
        ] {
            assert!(check(program).is_err(), "{program}");
        }
    }
}
