//! Configuration files of sections with `name = value` lines, as the clouds' command lines keep them.
//! Lines that are set in belong to the line above, and go with it.

/// A section: its heading, and its entries with the lines that belong to each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) heading: String,
    entries: Vec<(String, Vec<String>)>,
}

/// Reads a file.
pub(super) fn read(text: &str) -> Vec<Section> {
    let mut all: Vec<Section> = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(heading) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let heading = heading.split_whitespace().collect::<Vec<_>>().join(" ");
            all.push(Section { heading: heading.replace(['"', '\''], ""), entries: Vec::new() });
            continue;
        }
        let Some(section) = all.last_mut() else { continue };
        match section.entries.last_mut() {
            Some((_, lines)) if line.starts_with([' ', '\t']) => lines.push(line.to_owned()),
            _ => {
                let name = trimmed.split(['=', ':']).next().unwrap_or_default();
                let name = name.trim().to_ascii_lowercase();
                section.entries.push((name, vec![trimmed.to_owned()]));
            }
        }
    }
    all
}

/// The section with this heading.
pub(super) fn section<'s>(all: &'s [Section], heading: &str) -> Option<&'s Section> {
    all.iter().rev().find(|section| section.heading == heading)
}

impl Section {
    /// The value of an entry that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, lines) = self.entries.iter().rev().find(|(held, _)| held == name)?;
        let (_, value) = lines.first()?.split_once(['=', ':'])?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }

    /// Every address that is named `endpoint_url` here, in nested settings too, or, with `all`, every
    /// value that is one.
    pub(super) fn urls(&self, all: bool) -> Vec<String> {
        let lines = self.entries.iter().flat_map(|(_, lines)| lines);
        let pairs = lines.filter_map(|line| line.split_once('='));
        let named = pairs.filter(|(name, _)| all || name.trim() == "endpoint_url");
        named
            .map(|(_, value)| value.trim().to_owned())
            .filter(|value| value.contains("://"))
            .collect()
    }

    /// The section as text, under another heading, without entries that begin so.
    pub(super) fn without(&self, heading: &str, beginnings: &[&str]) -> String {
        let mut text = format!("[{heading}]\n");
        let kept = self
            .entries
            .iter()
            .filter(|(name, _)| !beginnings.iter().any(|beginning| name.starts_with(beginning)));
        for line in kept.flat_map(|(_, lines)| lines) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_read_and_thinned_out() {
        let text = "# a comment\n[default]\nregion=eu-west-1\n[profile  \"b c\"]\nrole_arn = x\ns3 =\n  \
            endpoint_url = http://127.0.0.1:1\n  max = 5\nregion: us\nempty =\n";
        let all = read(text);
        assert_eq!(section(&all, "default").unwrap().get("region"), Some("eu-west-1"));
        let held = section(&all, "profile b c").unwrap();
        assert_eq!((held.get("region"), held.get("empty")), (Some("us"), None));
        assert_eq!(held.urls(false), ["http://127.0.0.1:1"]);
        let kept = held.without("profile b", &["role_"]);
        assert_eq!(
            kept,
            "[profile b]\ns3 =\n  endpoint_url = http://127.0.0.1:1\n  max = 5\nregion: us\nempty =\n"
        );
        assert!(section(&all, "other").is_none());
        assert_eq!(read("stray = 1\n"), []);
    }
}
