//! Paths as they are written, as the grants and symbolic links that a child with a root of its own
//! needs to find the same file by the same name.

use std::path::{Path, PathBuf};

use lar_sandbox::{Access, Grant};

/// What is granted so far.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) grants: Vec<Grant>,
    pub(super) links: Vec<(PathBuf, PathBuf)>,
}

impl Places {
    /// Grants a path; `false` when there is nothing at it. The name by which it was given leads to it.
    pub(super) fn add(&mut self, path: &Path, access: Access) -> bool {
        let Ok(canonical) = path.canonicalize() else {
            return false;
        };
        self.link(path, &canonical);
        let grant = Grant { path: canonical, access };
        if !self.grants.contains(&grant) {
            self.grants.push(grant);
        }
        true
    }

    /// Makes a name lead to a file. A directory on the way may be a link as well as the last word.
    fn link(&mut self, path: &Path, canonical: &Path) {
        let path: PathBuf = path.components().collect();
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        let Ok(real_parent) = parent.canonicalize() else {
            return;
        };
        if real_parent != parent && !super::system::is_link(parent) {
            self.push(parent.to_owned(), real_parent.clone());
        }
        let real = real_parent.join(name);
        if real != canonical {
            self.push(real, canonical.to_owned());
        }
    }

    pub(super) fn push(&mut self, link: PathBuf, target: PathBuf) {
        if !self.links.iter().any(|(held, _)| *held == link) {
            self.links.push((link, target));
        }
    }
}

/// A place that programs may change and through which a path leads out again, by a link that one of them
/// may have put there.
pub(super) fn strays(path: &Path, writable: &[PathBuf]) -> Option<PathBuf> {
    /// As many links as the kernel follows (`path_resolution(7)`).
    const MOST_LINKS: usize = 40;
    let parts = |path: &Path| -> Vec<PathBuf> {
        path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect()
    };
    let mut rest = parts(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    let mut crossed: Vec<&PathBuf> = Vec::new();
    while let Some(part) = rest.pop() {
        if part == Path::new("..") {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match next.read_link() {
            Ok(target) if links < MOST_LINKS => {
                links += 1;
                crossed.extend(writable.iter().filter(|place| at.starts_with(place)));
                rest.extend(parts(&target));
            }
            Ok(_) | Err(_) => at = next,
        }
    }
    crossed.into_iter().find(|place| !at.starts_with(place)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_that_a_program_could_have_made_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        for name in ["out", "out/data", "keys"] {
            std::fs::create_dir(top.join(name)).unwrap();
        }
        let out = [top.join("out")];
        let strays = |path: &str| super::strays(&top.join(path), &out);
        symlink("data", top.join("out/inside")).unwrap();
        symlink("../keys", top.join("out/outside")).unwrap();
        symlink("out/outside", top.join("around")).unwrap();
        symlink("out/data", top.join("plain")).unwrap();
        symlink("loop", top.join("out/loop")).unwrap();
        for fine in ["keys", "out", "out/data", "out/inside", "out/none", "plain", "out/loop"] {
            assert_eq!(strays(fine), None, "{fine}");
        }
        for stray in
            ["out/outside", "out/outside/x", "around", "out/inside/../outside", "keys/../around"]
        {
            assert_eq!(strays(stray), Some(top.join("out")), "{stray}");
        }
    }

    #[test]
    fn a_name_leads_to_its_file_whatever_links_are_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::create_dir(top.join("real")).unwrap();
        std::fs::write(top.join("real/file"), "x").unwrap();
        symlink("file", top.join("real/alias")).unwrap();
        symlink("real", top.join("short")).unwrap();
        let mut places = Places::default();
        assert!(places.add(&top.join("short/./alias"), Access::Read));
        assert!(!places.add(&top.join("none"), Access::Read));
        assert_eq!(places.grants.len(), 1);
        assert_eq!(places.grants[0].path, top.join("real/file"));
        assert_eq!(
            places.links,
            [
                (top.join("short"), top.join("real")),
                (top.join("real/alias"), top.join("real/file")),
            ]
        );
    }
}
