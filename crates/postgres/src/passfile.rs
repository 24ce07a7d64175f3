//! The password file (<https://www.postgresql.org/docs/current/libpq-pgpass.html>).

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use secrecy::SecretString;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::AddressError;

/// The password of the first line that fits, if there is one. A file that others may read is
/// refused rather than passed over: a login that fails for another reason would be a riddle.
pub(crate) fn look_up(
    path: &Path,
    config: &Config,
    user: &str,
) -> Result<Option<SecretString>, AddressError> {
    let wrong = |why| AddressError::Passfile { path: path.display().to_string(), why };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err(wrong("can't be read; check its owner and mode")),
    };
    if !metadata.is_file() {
        return Err(wrong("is not a file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(wrong("can be read by others; `chmod 600` it"));
    }
    let text = fs::read_to_string(path).map_err(|_| wrong("can't be read as UTF-8 text"))?;
    let database = config.get_dbname().unwrap_or(user);
    let port = |place: usize| {
        let ports = config.get_ports();
        ports.get(place).or(ports.first()).copied().unwrap_or(5432).to_string()
    };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields = fields(line);
        let [host, at, of, role, password] = fields.as_slice() else { continue };
        let fits = |field: &str, value: &str| field == "*" || unescaped(field) == value;
        let one = config.get_hosts().iter().enumerate().any(|(place, wanted)| {
            let here = match wanted {
                Host::Tcp(name) => fits(host, name),
                // libpq writes `localhost` for a socket in the usual place.
                Host::Unix(directory) => {
                    fits(host, &directory.to_string_lossy()) || fits(host, "localhost")
                }
            };
            here && fits(at, &port(place))
        });
        if one && fits(of, database) && fits(role, user) {
            return Ok(Some(SecretString::from(unescaped(password))));
        }
    }
    Ok(None)
}

/// Splits at colons that no backslash stands before; the rest of a line is its last field.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut escaped = false;
    for character in line.chars() {
        let last = fields.len() == 5;
        match (character, fields.last_mut()) {
            (':', _) if !escaped && !last => {
                fields.push(String::new());
                continue;
            }
            (character, Some(field)) => field.push(character),
            (_, None) => {}
        }
        escaped = character == '\\' && !escaped;
    }
    fields
}

fn unescaped(field: &str) -> String {
    let mut text = String::new();
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::ExposeSecret as _;

    use super::*;

    fn in_file(content: &str, mode: u32, url: &str) -> Result<Option<String>, AddressError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        let config: Config = url.parse().unwrap();
        let user = config.get_user().unwrap().to_owned();
        let found = look_up(file.path(), &config, &user)?;
        Ok(found.map(|password| password.expose_secret().to_owned()))
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        let content = "# comment\nother:*:*:*:no\ndb:5432:l:app:a\\:b\\\\c\n*:*:*:*:rest\n";
        let of = |url| in_file(content, 0o600, url).unwrap();
        assert_eq!(of("postgres://app@db/l").as_deref(), Some("a:b\\c"));
        assert_eq!(of("postgres://app@db:5433/l").as_deref(), Some("rest"));
        assert_eq!(of("postgres://app@%2Ftmp/l").as_deref(), Some("rest"));
        assert_eq!(in_file("x:*:*:*:no\n", 0o600, "postgres://app@db/l").unwrap(), None);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let error = in_file("*:*:*:*:s3cret\n", 0o640, "postgres://app@db/l").unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }

    #[test]
    fn no_file_is_no_password() {
        let config: Config = "postgres://app@db/l".parse().unwrap();
        assert!(look_up(Path::new("/nonexistent/pgpass"), &config, "app").unwrap().is_none());
    }
}
