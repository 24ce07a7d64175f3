//! Links in Markdown that lead nowhere.

use std::collections::BTreeSet;

use super::{Finding, words};

/// Checks one page. `names` are the files and directories of the repository.
pub fn check(path: &str, text: &str, names: &BTreeSet<String>) -> Vec<Finding> {
    let prose = prose(text);
    let mut findings = words::unfinished(path, &prose);
    for (number, line) in (1..).zip(prose.lines()) {
        for target in targets(line) {
            match resolve(path, target) {
                Place::Elsewhere => {}
                Place::Here(name) if names.contains(&name) => {}
                Place::Here(name) => {
                    let what = format!(
                        "the link `{target}` leads to `{name}`, which does not exist; correct or \
                         remove it"
                    );
                    findings.push(Finding::new(path, number, what));
                }
                Place::Outside => {
                    let what =
                        format!("the link `{target}` leads out of the repository; remove it");
                    findings.push(Finding::new(path, number, what));
                }
            }
        }
    }
    findings
}

#[derive(Debug, PartialEq)]
enum Place {
    /// Another site, or the same page.
    Elsewhere,
    Here(String),
    Outside,
}

/// The text with code blocks and code spans blank: what stands there is no link.
fn prose(text: &str) -> String {
    let mut prose = String::new();
    let mut fence: Option<String> = None;
    for line in text.lines() {
        let start = line.trim_start();
        let marker: String =
            start.chars().take_while(|c| matches!(c, '`' | '~') && start.starts_with(*c)).collect();
        match &fence {
            Some(open) => {
                if marker.len() >= open.len()
                    && marker.starts_with(open)
                    && start.trim_end() == marker
                {
                    fence = None;
                }
            }
            None if marker.len() >= 3 => fence = Some(marker),
            None => {
                // A span that has no end is no span.
                let mut rest = line;
                while let Some((before, after)) = rest.split_once('`') {
                    prose.push_str(before);
                    match after.split_once('`') {
                        Some((_, after)) => rest = after,
                        None => rest = after,
                    }
                }
                prose.push_str(rest);
            }
        }
        prose.push('\n');
    }
    prose
}

/// Where the links of a line lead: `[text](target "title")`, `![image](target)` and `[name]: target`.
fn targets(line: &str) -> Vec<&str> {
    let mut targets: Vec<&str> = line
        .split("](")
        .skip(1)
        .filter_map(|after| match after.strip_prefix('<') {
            Some(quoted) => quoted.split('>').next(),
            None => after.split([')', ' ']).next(),
        })
        .collect();
    if let Some((name, after)) = line.trim_start().split_once("]:")
        && name.starts_with('[')
        && !name.starts_with("[^")
    {
        targets.extend(after.split_whitespace().next());
    }
    targets
}

fn resolve(page: &str, target: &str) -> Place {
    let target = target.trim_matches(['<', '>']);
    let path = target.split(['#', '?']).next().unwrap_or_default();
    let scheme = path.split(':').next().unwrap_or_default();
    let has_scheme = scheme.len() < path.len() && !scheme.contains('/');
    if path.is_empty() || has_scheme || path.starts_with("//") {
        return Place::Elsewhere;
    }
    // A leading slash means the repository's root, as on the forges that render these pages.
    let (base, path) = match path.strip_prefix('/') {
        Some(path) => ("", path),
        None => (page.rsplit_once('/').map_or("", |(base, _)| base), path),
    };
    let path = path.replace("%20", " ");
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Place::Outside;
                }
            }
            part => parts.push(part),
        }
    }
    Place::Here(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn finds(text: &str, lines: &[usize]) {
        let names = ["", "README.md", "docs", "docs/a.md", "docs/b c.md"].map(str::to_owned).into();
        let findings = check("docs/a.md", text, &names);
        let found: Vec<_> = findings.iter().map(|f| f.line).collect();
        assert_eq!(found, lines, "{text}: {findings:?}");
    }

    #[test]
    fn links_lead_somewhere() {
        finds("[a](a.md) and [b](../README.md#top)\n", &[]);
        finds("[a](/docs/a.md \"title\")\n[b](<b c.md>) [b](b%20c.md) [up](..)\n", &[]);
        finds("ok\n[a](gone.md) and [b](gone.md#x)\n", &[2, 2]);
        finds("![a](gone.png)\n[a]: gone.md\n[b]: a.md\n", &[1, 2]);
        finds("[a](../../other/x.md)\n", &[1]);
        finds("[a](https://example.com/gone.md) [b](#here) [c](mailto:a@b.c)\n", &[]);
        finds("[^1]: a footnote\n", &[]);
    }

    #[test]
    fn code_holds_no_links() {
        finds("`[a](gone.md)`\n```\n[a](gone.md)\n```\n[a](gone.md)\n", &[5]);
        finds("~~~~ text\n~~~\n[a](gone.md)\n~~~~\n", &[]);
        finds("a ` b [a](gone.md)\n", &[1]);
    }

    #[test]
    fn pages_are_finished() {
        finds("TODO: write this\n`TODO`\n", &[1]);
    }
}
