//! Ways of writing that the servers know and the parser doesn't, written as it knows them.

use sqlparser::tokenizer::{Token as Parsed, TokenWithSpan};

use super::{Dialect, is_one_of};

/// The same text in words that the parser knows: the manuals say of each that it is another way of writing the
/// other, or that it changes what is compared and nothing that is read.
pub(super) fn respelled(dialect: Dialect, tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let word = |index: usize| {
        let token = tokens.get(index)?;
        match &token.token {
            Parsed::Word(word) if word.quote_style.is_none() => {
                Some(word.value.to_ascii_uppercase())
            }
            _ => None,
        }
    };
    let visible = |token: &&TokenWithSpan| !matches!(token.token, Parsed::Whitespace(_));
    let mut out = Vec::with_capacity(tokens.len() + 2);
    let (mut first, mut point) = (true, false);
    let postgres = matches!(dialect, Dialect::Postgres | Dialect::Unknown);
    let mysql = dialect == Dialect::MySql;
    // The words before this one, the nearest last.
    let mut before = [String::new(), String::new()];
    // PostgreSQL joins literals that only a line break separates.
    let (mut literal, mut broken) = (false, false);
    for (index, token) in tokens.iter().enumerate() {
        let called = || {
            let next = tokens.get(index + 1..).unwrap_or_default().iter().find(visible);
            next.is_some_and(|next| next.token == Parsed::LParen)
        };
        let next = || {
            let mut rest = (index + 1..tokens.len())
                .skip_while(|at| !tokens.get(*at).is_some_and(|it| visible(&it)));
            rest.next().and_then(word).unwrap_or_default()
        };
        let put = match word(index).as_deref() {
            Some("TABLE") if first => vec![keyword("SELECT"), Parsed::Mul, keyword("FROM")],
            Some("ISNULL") if !point && !called() => vec![keyword("IS"), keyword("NULL")],
            Some("NOTNULL") if !point && !called() => {
                vec![keyword("IS"), keyword("NOT"), keyword("NULL")]
            }
            Some("SYMMETRIC") if postgres && before[1] == "BETWEEN" => vec![],
            Some("DISTINCT") if postgres && before == ["GROUP", "BY"] => vec![],
            Some("LOCAL") if postgres && before[1] == "AT" => {
                let zone = Parsed::SingleQuotedString("local".to_owned());
                vec![keyword("TIME"), keyword("ZONE"), zone]
            }
            Some("MOD") if mysql && !point && !called() && ends(&out) => vec![Parsed::Mod],
            Some("SOUNDS") if mysql && !point && ends(&out) && next() == "LIKE" => vec![],
            Some("EXTENDED" | "PARTITIONS")
                if mysql && before == ["", "EXPLAIN"] && next() == "SELECT" =>
            {
                vec![]
            }
            None if mysql && token.token == Parsed::ExclamationMark && !ends(&out) => {
                vec![keyword("NOT")]
            }
            _ if literal && broken && matches!(token.token, Parsed::SingleQuotedString(_)) => {
                vec![]
            }
            _ => vec![token.token.clone()],
        };
        match &token.token {
            Parsed::Whitespace(blank) => broken |= blank.to_string().contains('\n'),
            other => {
                (literal, broken) = (matches!(other, Parsed::SingleQuotedString(_)), false);
            }
        }
        out.extend(put.into_iter().map(|put| TokenWithSpan { token: put, span: token.span }));
        if visible(&token) {
            (first, point) = (
                false,
                matches!(token.token, Parsed::Period) || word(index).as_deref() == Some("AS"),
            );
            let [_, last] = before;
            before = [last, word(index).unwrap_or_default()];
        }
    }
    out
}

/// Whether the last token is the end of an operand, so that an operator may follow.
fn ends(tokens: &[TokenWithSpan]) -> bool {
    const BEFORE: &str = "ALL AND BETWEEN BY CASE DISTINCT DIV ELSE FROM HAVING IN INTERVAL IS LIKE LIMIT MOD NOT OFFSET \
        ON OR REGEXP RLIKE SELECT SET THEN VALUES WHEN WHERE XOR";
    let mut back = tokens.iter().rev().map(|token| &token.token);
    match back.find(|token| !matches!(token, Parsed::Whitespace(_))) {
        Some(Parsed::Word(word)) => word.quote_style.is_some() || !is_one_of(&word.value, BEFORE),
        Some(Parsed::RParen | Parsed::Number(..) | Parsed::SingleQuotedString(_)) => true,
        _ => false,
    }
}

fn keyword(word: &str) -> Parsed {
    Parsed::make_keyword(word)
}
