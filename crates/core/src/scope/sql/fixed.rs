//! What a prefix fixes of a statement stays fixed: a condition isn't weakened by what follows it, a list of columns or
//! rows not lengthened, and a number or a literal with which it ends is whole.

use super::scan::{Kind, Token};
use super::{Dialect, is_one_of};

/// Where the prefix stands within one pair of parentheses.
#[derive(Clone, Copy, Default)]
struct Frame {
    clause: Clause,
    /// Whether something stands behind the clause's keyword.
    named: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Clause {
    #[default]
    Other,
    Where,
    Set,
    Values,
    Limit,
}

/// What may follow an expression that the prefix ends with: another condition, or another clause.
const GOES_ON: &str =
    "AND ORDER GROUP HAVING LIMIT OFFSET FETCH WINDOW RETURNING WHERE FROM ON FOR ; ) THEN END AS";

/// Clauses that stand behind a condition, in which alternatives are none of its own.
const BEHIND: &str = "ORDER GROUP HAVING LIMIT OFFSET FETCH WINDOW RETURNING";

/// The first token behind the `named` ones that changes what they fix.
pub(super) fn loosened<'t, 'a>(
    dialect: Dialect,
    tokens: &'t [Token<'a>],
    named: usize,
) -> Option<&'t Token<'a>> {
    let (prefix, rest) = tokens.split_at_checked(named)?;
    let last = prefix.last()?;
    let next = rest.first()?;
    let is_whole = matches!(last.kind, Kind::Number | Kind::Quoted);
    let touches = last.at + last.text.len() == next.at && next.kind != Kind::Mark;
    if is_whole && (touches || last.kind == Kind::Quoted && next.kind == Kind::Quoted) {
        return Some(next);
    }
    let mut frames = frames(prefix);
    let frame = frames.last().copied().unwrap_or_default();
    let before = prefix.iter().rev().nth(1).map_or("", |token| token.text);
    let ends_operand = is_whole
        || last.text == ")"
        || matches!(before, "=" | "<" | ">") && matches!(last.kind, Kind::Word);
    if frame.clause != Clause::Other
        && frame.named
        && ends_operand
        && !is_one_of(next.text, GOES_ON)
    {
        return Some(next);
    }
    let mut before = last.text;
    for token in rest {
        match token.text {
            "(" => frames.push(Frame::default()),
            ")" => {
                frames.pop();
            }
            _ => {}
        }
        if let Some(frame) = frames.last_mut()
            && frame.named
        {
            let is_word = token.kind == Kind::Word;
            let weakens = match frame.clause {
                Clause::Where => {
                    is_word && is_one_of(token.text, "OR XOR")
                        || dialect == Dialect::MySql && token.text == "|" && before == "|"
                }
                Clause::Set | Clause::Values => token.text == ",",
                Clause::Limit | Clause::Other => false,
            };
            let adds = frame.clause != Clause::Other
                && is_word
                && is_one_of(token.text, "UNION INTERSECT EXCEPT MINUS");
            if weakens || adds {
                return Some(token);
            }
            if is_word && is_one_of(token.text, BEHIND) {
                frame.clause = Clause::Limit;
            } else if is_word && frame.clause == Clause::Set && is_one_of(token.text, "WHERE FROM")
            {
                frame.clause = Clause::Other;
            }
        }
        before = token.text;
    }
    None
}

/// The clauses in which a prefix ends, from the outermost parentheses to the innermost.
fn frames(prefix: &[Token<'_>]) -> Vec<Frame> {
    let mut frames = vec![Frame::default()];
    for token in prefix {
        let is_word = token.kind == Kind::Word;
        match token.text {
            ")" => {
                frames.pop();
                continue;
            }
            "(" => {
                // A row of values, or a list of a condition, is a part of it.
                let outer = frames.last_mut();
                let clause = outer.map(|frame| {
                    frame.named = true;
                    frame.clause
                });
                let within = clause.filter(|clause| *clause == Clause::Where);
                frames.push(Frame { clause: within.unwrap_or_default(), named: false });
                continue;
            }
            _ => {}
        }
        let Some(frame) = frames.last_mut() else {
            continue;
        };
        let clause = [
            ("WHERE", Clause::Where),
            ("SET", Clause::Set),
            ("VALUES", Clause::Values),
            ("LIMIT", Clause::Limit),
        ]
        .into_iter()
        .find(|(word, _)| is_word && is_one_of(token.text, word));
        match clause {
            Some((_, clause)) => *frame = Frame { clause, named: false },
            None if is_word && is_one_of(token.text, "SELECT FROM") => *frame = Frame::default(),
            None => frame.named = token.text != "," || frame.clause == Clause::Where,
        }
    }
    frames
}
