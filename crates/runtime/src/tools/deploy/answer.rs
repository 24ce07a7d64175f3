//! What `kubectl` says when something went wrong, by the words that it prints.
//!
//! `kubectl` has one exit code for everything, so its text is all there is to go by. Whatever is not
//! recognised here proves nothing and is treated so.

use super::super::child::End;
use lar_core::display::first_chars;

/// What the failure of a request says about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The server says that it did not do it.
    Refused,
    /// There was no server to ask.
    NotReached,
    /// Neither is certain.
    Unclear,
}

/// Reads kubectl's complaint about a request. The words are those of `StatusReason` in the
/// Kubernetes API, and of only those reasons that prove that nothing was written: a timeout or an
/// internal error may come after the write.
pub(super) fn answer(errors: &str) -> Answer {
    const REFUSALS: [&str; 12] = [
        "Unauthorized",
        "Forbidden",
        "NotFound",
        "AlreadyExists",
        "Conflict",
        "Gone",
        "Invalid",
        "TooManyRequests",
        "BadRequest",
        "MethodNotAllowed",
        "UnsupportedMediaType",
        "RequestEntityTooLarge",
    ];
    const UNREACHED: [&str; 5] = [
        "dial ",
        "proxyconnect ",
        "x509: ",
        "tls: failed to verify certificate",
        "getting credentials: ",
    ];
    for line in errors.lines() {
        if let Some(rest) = line.strip_prefix("Error from server (")
            && let Some((reason, _)) = rest.split_once(')')
            && REFUSALS.contains(&reason)
        {
            return Answer::Refused;
        }
        let invalid = line.starts_with("The Deployment \"") && line.contains(" is invalid: ");
        let denied = line.starts_with("Error from server: admission webhook ")
            && line.contains(" denied the request");
        if invalid
            || denied
            || line.starts_with("The request is invalid")
            || line.starts_with("error: You must be logged in to the server")
        {
            return Answer::Refused;
        }
        if line.starts_with("The connection to the server ") && line.contains(" was refused") {
            return Answer::NotReached;
        }
        if let Some(why) = line.strip_prefix("Unable to connect to the server: ")
            && UNREACHED.iter().any(|word| why.starts_with(word))
        {
            return Answer::NotReached;
        }
    }
    Answer::Unclear
}

/// Whether `kubectl rollout status` says that the rollout failed or did not end in time.
pub(super) fn has_failed(errors: &str) -> bool {
    // The whole line: an API call that failed for the same reason says so behind its address.
    errors.lines().map(str::trim_end).any(|line| {
        line == "error: timed out waiting for the condition"
            || line == "error: context deadline exceeded"
            || line.starts_with("error: deployment \"")
                && line.ends_with("\" exceeded its progress deadline")
    })
}

/// kubectl's own word comes last, after what its libraries log.
pub(super) fn last_line(end: &End) -> String {
    let line = end.stderr.text.lines().rfind(|line| !line.trim().is_empty());
    first_chars(line.unwrap_or("`kubectl` said nothing").trim(), 300).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_proves_that_nothing_was_written_is_a_refusal() {
        for refused in [
            "Error from server (Forbidden): deployments.apps \"web\" is forbidden",
            "E1122 memcache.go:265] noise\nError from server (Conflict): Operation cannot be fulfilled",
            "The Deployment \"web\" is invalid: spec.template: Required value",
            "error: You must be logged in to the server (Unauthorized)",
            "Error from server: admission webhook \"policy.test\" denied the request: no",
        ] {
            assert_eq!(answer(refused), Answer::Refused, "{refused}");
        }
        for unreached in [
            "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?",
            "Unable to connect to the server: dial tcp: lookup api.test: no such host",
            "Unable to connect to the server: x509: certificate signed by unknown authority",
            "Unable to connect to the server: getting credentials: exec: executable aws failed",
        ] {
            assert_eq!(answer(unreached), Answer::NotReached, "{unreached}");
        }
        for unclear in [
            "",
            "Error from server (InternalError): etcdserver: request timed out",
            "Error from server (Timeout): the server was unable to answer in time",
            "Error from server (ServiceUnavailable): apiserver is shutting down",
            "Unable to connect to the server: EOF",
            "error: Patch \"https://api.test\": read: connection reset by peer",
            "Warning: the policy says (Forbidden)",
        ] {
            assert_eq!(answer(unclear), Answer::Unclear, "{unclear}");
        }
    }

    #[test]
    fn a_watch_that_broke_is_no_failed_rollout() {
        assert!(has_failed("error: deployment \"web\" exceeded its progress deadline"));
        assert!(has_failed("error: timed out waiting for the condition\n"));
        for other in [
            "",
            "Error from server (Forbidden): deployments.apps",
            "error: unexpected EOF",
            "error: Get \"https://api.test/apis\": context deadline exceeded",
            "error: Get \"https://api.test/apis\": timed out waiting for the condition",
        ] {
            assert!(!has_failed(other), "{other}");
        }
    }
}
