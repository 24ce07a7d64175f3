//! What an error means for the operator. The server's own text is kept out: it can hold values.

use std::error::Error as _;
use std::io;

use rustls::CertificateError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// What went wrong and what to do about it, as the rest of a sentence that begins with what can't
/// be done.
pub fn explain(error: &Error) -> String {
    if let Some(code) = error.code() {
        return match said(code) {
            Some(text) => text.to_owned(),
            None => format!("the server reports the error {} (`SQLSTATE`)", code.code()),
        };
    }
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return io_error(io).to_owned();
        }
        source = inner.source();
    }
    if error.is_closed() {
        return "the connection to the server was cut".to_owned();
    }
    // The library names what it did not expect by these words alone.
    match error.to_string().as_str() {
        text if text.starts_with("invalid configuration") => {
            "the server asks for a password and none is given; set `PGPASSWORD` or a line of the \
             password file"
        }
        text if text.starts_with("authentication error") => {
            "the server asks for a login that is not supported; use `scram-sha-256`"
        }
        text if text.starts_with("error performing TLS handshake") => {
            "the server offers no TLS; enable it there, or write `sslmode=disable` if the network \
             between is yours alone"
        }
        text if text.starts_with("error connecting to server") => {
            "the server can't be reached; check the host and the port, and that it runs"
        }
        _ => "the server's answer is not understood",
    }
    .to_owned()
}

fn said(code: &SqlState) -> Option<&'static str> {
    let text = match *code {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "the server refused the login; check the role, its password and `pg_hba.conf`"
        }
        SqlState::INVALID_CATALOG_NAME => {
            "there is no such database on the server; make it, or name another"
        }
        SqlState::TOO_MANY_CONNECTIONS => {
            "the server takes no more connections; raise `max_connections` or end some"
        }
        SqlState::CANNOT_CONNECT_NOW => "the server is starting or stopping; try again in a moment",
        SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => "the server was stopped",
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "the role lacks a right; `docs/ledger-postgres.md` says which it needs"
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            "the server is read-only, perhaps a standby; name the primary"
        }
        SqlState::DISK_FULL => "the server's disk is full; free some space there",
        SqlState::OUT_OF_MEMORY => "the server is out of memory",
        SqlState::QUERY_CANCELED => "the server took too long and was asked to stop",
        SqlState::LOCK_NOT_AVAILABLE => "another transaction held what is needed for too long",
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
            "other transactions got in the way again and again; run again"
        }
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => {
            "the server's files are damaged; restore them from a backup"
        }
        _ => return None,
    };
    Some(text)
}

fn io_error(error: &io::Error) -> &'static str {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls_error(tls);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
            "nothing listens there; check the host and the port, and that the server runs"
        }
        io::ErrorKind::TimedOut => "the server doesn't answer; check the host and the network",
        io::ErrorKind::PermissionDenied => "the socket may not be used; check its mode",
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::UnexpectedEof => "the connection to the server was cut",
        _ => "the server can't be reached; check the host and the network",
    }
}

fn tls_error(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired; renew it there"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the server's certificate is for another name; use the name that it carries"
            }
            CertificateError::UnknownIssuer => {
                "the server's certificate is from an unknown authority; name that one's file with \
                 `sslrootcert=`"
            }
            _ => "the server's certificate doesn't hold",
        },
        _ => "no encrypted connection could be agreed on with the server",
    }
}
