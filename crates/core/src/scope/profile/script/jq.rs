//! jq and yq: whether a filter reads the environment, loads modules or files, or evaluates text.

use super::super::Effect;
use super::super::kind::Wrong;

const JQ: [&str; 5] = ["env", "import", "include", "get_search_list", "modulemeta"];
/// Parts of the names of yq's operators that read files, variables or text as code: `load_xml`,
/// `strenv`, `envsubst` and what later versions add to them.
const YQ: [&str; 4] = ["env", "load", "eval", "system"];

/// Judges a jq filter by its words.
pub(in super::super) fn check(filter: &str) -> Result<(), Wrong> {
    scan(filter, |word| JQ.contains(&word))
}

/// Judges a yq expression.
pub(in super::super) fn check_yq(filter: &str) -> Result<(), Wrong> {
    scan(filter, |word| YQ.iter().any(|part| word.contains(part)))
}

fn scan(filter: &str, refused: impl Fn(&str) -> bool) -> Result<(), Wrong> {
    let mut rest = filter.char_indices().peekable();
    // What is open: `(`, `[`, `{`, and `"` for the text that an interpolation returns to.
    let mut open: Vec<char> = Vec::new();
    let mut before = ' ';
    let mut in_text = false;
    while let Some((at, c)) = rest.next() {
        if in_text {
            match c {
                '\\' => {
                    if let Some((_, '(')) = rest.next() {
                        open.push('"');
                        in_text = false;
                        before = '(';
                    }
                }
                '"' => {
                    in_text = false;
                    before = '"';
                }
                _ => {}
            }
            continue;
        }
        match c {
            c if c.is_whitespace() => continue,
            '"' => in_text = true,
            '#' => {
                // Whether a backslash continues a comment differs by version.
                while let Some((_, c)) = rest.next_if(|(_, c)| *c != '\n') {
                    if c == '\\' {
                        let what = "has a comment that is read differently by different versions";
                        return Err((Effect::Runs, what.to_owned()));
                    }
                }
                continue;
            }
            '(' | '[' | '{' => open.push(c),
            ')' | ']' | '}' => in_text = open.pop() == Some('"'),
            c if c.is_alphanumeric() || c == '_' => {
                let mut end = at + c.len_utf8();
                while let Some((at, c)) = rest.next_if(|(_, c)| c.is_alphanumeric() || *c == '_') {
                    end = at + c.len_utf8();
                }
                let word = filter.get(at..end).unwrap_or_default();
                let after = filter.get(end..).unwrap_or_default().trim_start();
                // `.env`, `{env: 1}` and `{env}` are keys.
                let is_key = before == '.'
                    || open.last() == Some(&'{')
                        && matches!(before, '{' | ',')
                        && after.starts_with([':', ',', '}'])
                        && !after.starts_with("::");
                let is_environment = before == '$' && word == "ENV" || word == "__prog_args";
                let is_name = is_key || matches!(before, '@' | '$');
                if is_environment || refused(word) && !is_name {
                    let what =
                        format!("reads the environment or loads what is elsewhere (`{word}`)");
                    return Err((Effect::Reads, what));
                }
                before = 'a';
                continue;
            }
            _ => {}
        }
        before = c;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_only_transform_are_told_from_others() {
        for filter in [
            ".items[].metadata.name",
            ".env",
            ".a.env.b",
            "{env: .x, name}",
            "{name, env}",
            "\"env and $ENV\"",
            ".[] | select(.env == \"prod\")",
            "map(.x) | add",
            "inputs | .a",
            "# a note\n.a",
            ".[\"env\"]",
            "@base64",
            ".[$env]",
        ] {
            assert_eq!(check(filter), Ok(()), "{filter}");
        }
        for filter in [
            "env",
            "env.TOKEN",
            "$ENV.TOKEN",
            "$ENV",
            "[env, 1]",
            "1, env, 2",
            "\"\\(env.TOKEN)\"",
            "\"a\\(\"b\\($ENV|tostring)\")\"",
            "import \"a\" as a; a::f",
            "include \"x\"; .",
            "{a: env}",
            "{(env): 1}",
            ".a | env",
            "get_search_list",
            "{a: 1, b: (1, env, 2)}",
        ] {
            assert!(check(filter).is_err(), "{filter}");
        }
        assert!(check_yq("load(\"/etc/passwd\")").is_err());
        assert!(check_yq("strenv(TOKEN)").is_err());
        assert!(check_yq(".spec.env").is_ok());
    }
}
