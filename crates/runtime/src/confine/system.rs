//! What every program gets of the system: its libraries and shared data, and a few files of `/etc`,
//! most of them made for it.

use std::path::{Path, PathBuf};

use lar_sandbox::Access;

use super::place::Places;

/// Libraries and shared data. Programs are not among them.
const READABLE: [&str; 13] = [
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/share",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/libexec",
    "/usr/local/share",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
];

/// The loader's cache, certificates, and which of several programs a name stands for.
const ETC: [&str; 9] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/mime.types",
];

/// Where credentials lie beneath a home, by the habits of the programs that keep them there.
pub(super) const CREDENTIALS: [&str; 24] = [
    ".aws",
    ".azure",
    ".config/gcloud",
    ".config/gh",
    ".config/hub",
    ".config/op",
    ".config/rclone",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".local/share/keyrings",
    ".my.cnf",
    ".netrc",
    ".npmrc",
    ".password-store",
    ".pgpass",
    ".pypirc",
    ".ssh",
    ".terraform.d",
    ".vault-token",
    ".config/pip",
];

/// Directories that are links on systems with a merged `/usr`.
const LINKS: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// Where programs start others that no PATH leads to.
const HELPERS: [&str; 5] =
    ["/usr/lib", "/usr/libexec", "/usr/local/lib", "/usr/local/libexec", "/lib"];

/// Grants what every program gets.
pub(super) fn readable(places: &mut Places) {
    for link in LINKS.map(Path::new) {
        if let Ok(target) = std::fs::read_link(link) {
            places.push(link.to_owned(), target);
        }
    }
    for path in READABLE.iter().chain(&ETC).map(Path::new) {
        if !is_link(path) {
            places.add(path, Access::Read);
        }
    }
}

/// Grants the programs in there too.
pub(super) fn executable(places: &mut Places) {
    for path in HELPERS.map(Path::new).into_iter().filter(|path| !is_link(path)) {
        places.add(path, Access::Execute);
    }
}

/// Grants what a program finds beside itself when it lies in a place of its own, such as a Python
/// environment: the libraries there. Data in there (`share`) may be anything of the user's.
pub(super) fn beside(program: &Path, places: &mut Places) {
    let Some(directory) = program.parent().filter(|directory| directory.ends_with("bin")) else {
        return;
    };
    let Some(prefix) = directory.parent() else { return };
    if prefix == Path::new("/") || prefix.starts_with("/usr") {
        return;
    }
    for name in ["lib", "lib64", "libexec", "pyvenv.cfg"] {
        places.add(&prefix.join(name), Access::Read);
    }
    // An environment is made of links to the one that it came from.
    if let Ok(text) = std::fs::read_to_string(prefix.join("pyvenv.cfg")) {
        let home = text.lines().find_map(|line| line.strip_prefix("home = "));
        if let Some(prefix) = home.and_then(|home| Path::new(home.trim()).parent())
            && !prefix.starts_with("/usr")
            && prefix != Path::new("/")
        {
            places.add(&prefix.join("lib"), Access::Read);
        }
    }
}

/// Whether a path is one of the directories that lead into `/usr` here.
pub(super) fn is_link(path: &Path) -> bool {
    LINKS.map(Path::new).contains(&path)
        && path.symlink_metadata().is_ok_and(|found| found.file_type().is_symlink())
}

/// The files that are made for a child: who it is, and which hosts it knows.
pub(super) fn texts(home: Option<&Path>, hosts: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let name = user_name(user).unwrap_or_else(|| "user".to_owned());
    let home = home.unwrap_or(Path::new("/")).display();
    let mut passwd = format!("{name}:x:{user}:{group}::{home}:/bin/sh\n");
    let mut groups = format!("{name}:x:{group}:\n");
    if user != 0 {
        passwd.push_str("root:x:0:0::/:/bin/sh\n");
        groups.push_str("root:x:0:\n");
    }
    passwd.push_str("nobody:x:65534:65534::/:/bin/sh\n");
    groups.push_str("nogroup:x:65534:\n");
    let nsswitch = "passwd: files\ngroup: files\nhosts: files\n".to_owned();
    let hosts = format!("127.0.0.1 localhost\n::1 localhost\n{hosts}");
    let files =
        [("passwd", passwd), ("group", groups), ("nsswitch.conf", nsswitch), ("hosts", hosts)];
    files.map(|(name, text)| (Path::new("/etc").join(name), text.into_bytes())).into()
}

/// The user's name, as the system's file says it.
fn user_name(user: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let plain = |name: &&str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(plain)?;
        (fields.nth(1)?.parse() == Ok(user)).then(|| name.to_owned())
    })
}
