//! Which commands a token allows: prefixes of whole words, and the check of one command against them.
//!
//! Commands and prefixes are split by the same lexer, and what is compared is decoded words, so no
//! spelling of a command slips past. What stands after the prefix is judged by the program's
//! [profile](super::profile). Never here: a shell, a look at the file system, a second split of
//! what was once matched.

mod prefix;
mod refusal;
mod sql_place;

use super::lexer::{self, LexError, Word};
use super::profile::{self, Profile, Profiles};
use crate::token::{AttenuateError, TokenError};
use prefix::Fit;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub use prefix::Prefix;
pub use refusal::{CommandRefusal, PrefixError, PrefixErrorKind, RefusalKind};

/// A command that was split: the very words that are matched, shown, hashed and executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    source: String,
    argv: Vec<String>,
    spans: Vec<Range<usize>>,
}

impl Command {
    /// Splits a command as it was written.
    ///
    /// # Errors
    ///
    /// Whatever would need a shell; see [`lexer::split`].
    pub fn parse(source: &str) -> Result<Self, LexError> {
        let words = lexer::split(source)?;
        let (argv, spans) = words.into_iter().map(|Word { text, span, .. }| (text, span)).unzip();
        Ok(Self { source: source.to_owned(), argv, spans })
    }

    /// The program and its arguments; never empty.
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// The first word.
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    /// The text that was split.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Where each word of [`Self::argv`] stands in the source, in bytes.
    pub fn spans(&self) -> &[Range<usize>] {
        &self.spans
    }
}

/// The prefixes of one token. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandScope {
    prefixes: Vec<Prefix>,
}

impl CommandScope {
    /// Reads a token's `allowed`.
    ///
    /// # Errors
    ///
    /// No prefix at all, an empty one, one that itself needs a shell, or one that cannot be enforced.
    pub fn new(allowed: impl IntoIterator<Item = String>) -> Result<Self, PrefixError> {
        Self::with_profiles(allowed, &Arc::default())
    }

    /// The same, by the profiles of a manifest.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_profiles(
        allowed: impl IntoIterator<Item = String>,
        profiles: &Arc<Profiles>,
    ) -> Result<Self, PrefixError> {
        let read = |(index, source): (usize, String)| {
            Prefix::parse(&source, profiles).map_err(|kind| PrefixError {
                index,
                prefix: source,
                kind,
            })
        };
        let prefixes: Vec<_> =
            allowed.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
        if prefixes.is_empty() {
            let kind = PrefixErrorKind::NoPrefix;
            return Err(PrefixError { index: 0, prefix: String::new(), kind });
        }
        Ok(Self { prefixes })
    }

    /// Judges a command. Returns the first prefix that permits it.
    ///
    /// # Errors
    ///
    /// A refusal whose message says what is allowed instead.
    pub fn permits(&self, command: &Command) -> Result<&Prefix, CommandRefusal> {
        let mut nearest = None;
        for prefix in &self.prefixes {
            match prefix.fit(command) {
                Fit::Yes => return Ok(prefix),
                Fit::No => {}
                Fit::Nearly(kind, word) => {
                    nearest.get_or_insert((kind, word));
                }
            }
        }
        let (kind, word) = nearest.unwrap_or((RefusalKind::OutsideScope, None));
        Err(CommandRefusal::new(kind, word, command, &self.prefixes))
    }

    /// The profiles of a command's program and of the commands that it runs in turn, outermost first.
    pub fn profiles_of(&self, command: &Command) -> Vec<Arc<Profile>> {
        let profiles = self.prefixes.first().map(|prefix| &prefix.profiles);
        profiles.map_or_else(Vec::new, |profiles| profile::chain(profiles, command.argv()))
    }

    /// The digests of the profiles by which the prefixes are judged, by program.
    pub fn profile_digests(&self) -> BTreeMap<String, String> {
        let chains = self.prefixes.iter().map(|prefix| {
            let chain = profile::chain(&prefix.profiles, &prefix.words);
            let named = profile::named(&prefix.profiles, &prefix.words);
            chain.into_iter().chain(named)
        });
        let pair =
            |profile: Arc<Profile>| (profile.name().to_owned(), profile.digest().to_string());
        chains.flatten().map(pair).collect()
    }

    /// Programs of the prefixes of which nothing is known, so that any words may follow.
    pub fn unknown_programs(&self) -> Vec<&str> {
        let unknown = self.prefixes.iter().filter(|prefix| prefix.profile.is_none());
        let mut names: Vec<&str> = unknown.map(Prefix::program).collect();
        names.dedup();
        names
    }

    /// The prefixes, in the order in which they were given.
    pub fn prefixes(&self) -> &[Prefix] {
        &self.prefixes
    }

    /// The scope of commands that begin with one of `allowed`, where that is provably no more.
    ///
    /// # Errors
    ///
    /// The first prefix that isn't proved to be narrower, with the reason.
    pub(crate) fn attenuate(&self, allowed: Vec<String>) -> Result<Self, AttenuateError> {
        let profiles = self.prefixes.first().map(|prefix| Arc::clone(&prefix.profiles));
        let narrower = Self::with_profiles(allowed, &profiles.unwrap_or_default())
            .map_err(TokenError::Prefix)?;
        let wider = |mine: &&Prefix| !self.prefixes.iter().any(|theirs| mine.narrows(theirs));
        let Some(prefix) = narrower.prefixes.iter().find(wider) else {
            return Ok(narrower);
        };
        let refused = Command::parse(&prefix.source).ok().map(|command| self.permits(&command));
        let why = match refused {
            Some(Err(refusal)) => refusal.to_string(),
            _ => "it ends within an option or a word whose rest the token's own prefix judges; \
                  name whole words"
                .to_owned(),
        };
        let text = lexer::visible(&prefix.source, 120);
        Err(AttenuateError::Unproved { field: "allowed", text, why })
    }

    /// Whether everything that this scope permits is provably permitted by `wider`: each prefix is
    /// covered by one of its prefixes.
    pub fn narrows(&self, wider: &Self) -> bool {
        self.prefixes.iter().all(|mine| wider.prefixes.iter().any(|theirs| mine.narrows(theirs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(allowed: &[&str]) -> CommandScope {
        CommandScope::new(allowed.iter().map(|&p| p.to_owned())).unwrap()
    }

    fn permits(allowed: &str, command: &str) -> bool {
        scope(&[allowed]).permits(&Command::parse(command).unwrap()).is_ok()
    }

    fn refusal(allowed: &[&str], command: &str) -> CommandRefusal {
        scope(allowed).permits(&Command::parse(command).unwrap()).expect_err(command)
    }

    fn prefix_error(prefix: &str) -> PrefixError {
        CommandScope::new(["ls".to_owned(), prefix.to_owned()]).expect_err(prefix)
    }

    #[test]
    fn prefixes_match_whole_decoded_words() {
        for (prefix, command) in [
            ("kubectl get pods", "kubectl get pods"),
            ("kubectl get pods", "kubectl get pods -n prod"),
            ("kubectl get pods", "kubectl 'get' \"pods\""),
            ("kubectl 'get' pods", r"kubectl g\et pods"),
            ("/usr/bin/id", "/usr/bin/id -u"),
            ("grep 'a b'", "grep a\\ b f"),
            ("echo '*'", "echo '*' x"),
        ] {
            assert!(permits(prefix, command), "{prefix} / {command}");
        }
        for (prefix, command) in [
            ("kubectl get pods", "kubectl get podsx"),
            ("kubectl get pods", "kubectl get"),
            ("kubectl get pods", "kubectl get 'pods '"),
            ("kubectl get pods", "'kubectl get pods'"),
            ("kubectl get pods", "kubectl get '' pods"),
            ("kubectl get pods", "kubectl -s x get pods"),
            ("kubectl get pods", "Kubectl get pods"),
            ("kubectl", "./kubectl"),
            ("kubectl", "/usr/bin/kubectl"),
            ("kubectl", "kubectl/../sh"),
            ("/usr/bin/id", "id"),
            ("/usr/bin/id", "/usr/bin/../bin/id"),
            ("/usr/bin/id", "/usr/bin//id"),
        ] {
            assert!(!permits(prefix, command), "{prefix} / {command}");
        }
    }

    #[test]
    fn harmless_options_may_stand_among_the_words_of_a_prefix() {
        for (prefix, command) in [
            ("kubectl get pods", "kubectl -n x get pods"),
            ("kubectl get pods", "kubectl -v=6 get --namespace=x pods -o wide"),
            ("kubectl get pods -n x", "kubectl --request-timeout 5s get pods -n x"),
            ("git log", "git -P --no-pager log -3"),
            ("timeout 5 kubectl get pods", "timeout -k 1 5 kubectl -n x get pods"),
            ("sudo systemctl status", "sudo -n systemctl --no-pager status nginx"),
            ("kubectl exec web -- ls", "kubectl exec -it -n x web -- ls /"),
            ("ssh h kubectl get pods", "ssh -4 h kubectl -n x get pods"),
            ("psql -d a -c 'SELECT", "psql -X -d a -At -c 'SELECT 1'"),
            ("sqlite3 a.db 'SELECT", "sqlite3 -readonly a.db -json 'SELECT 1'"),
            ("curl 'https://a.example/", "curl -s --max-time 3 https://a.example/v1"),
            ("tar -tf a.tar", "tar -v -tf a.tar"),
            ("python -m pytest tests", "python -B -m pytest -q tests"),
            ("docker run --rm alpine id", "docker run -t --rm -i alpine id"),
            ("rsync -a h:/x y", "rsync --exclude='*.o' -a h:/x y"),
            ("make -j 4 test", "make -s -j 4 test"),
        ] {
            assert!(permits(prefix, command), "{prefix} / {command}");
        }
        for (prefix, command) in [
            // A value is no word of the prefix, and a word of the prefix no value.
            ("kubectl get pods", "kubectl -n get pods"),
            ("kubectl get pods", "kubectl -n get delete pods"),
            ("kubectl get pods", "kubectl get -n pods delete"),
            ("sqlite3 a.db 'SELECT", "sqlite3 -separator a.db 'SELECT 1'"),
            ("make test", "make -j test deploy"),
            // Effects, unknown options, and what ends options.
            ("kubectl get pods", "kubectl --kubeconfig=f get pods"),
            ("kubectl get pods", "kubectl --nowhere get pods"),
            ("kubectl get pods", "kubectl -nx -s=evil get pods"),
            ("kubectl get pods", "kubectl -- get pods"),
            ("git log", "git -p log"),
            ("git log", "git -c core.pager=id log"),
            ("timeout 5 kubectl get pods", "timeout 5 sh kubectl get pods"),
            ("timeout 5 kubectl get pods", "timeout 5 -- kubectl get pods"),
            ("sudo systemctl status", "sudo -u x systemctl status"),
            ("ssh h kubectl get pods", "ssh h kubectl -s=evil get pods"),
            // What the prefix fixes stays fixed, whichever of several decides.
            ("kubectl get pods -n x", "kubectl -n y get pods -n x"),
            ("helm -n x list", "helm -n x list -n y"),
            ("psql -c 'SELECT", "psql -c 'DELETE FROM t' -c 'SELECT 1'"),
            ("tar -tf a.tar", "tar -f b.tar -tf a.tar"),
            ("rsync -a --exclude=k h:/x y", "rsync --include=k -a --exclude=k h:/x y"),
            ("find . -name x -print", "find . -true -o -name x -print"),
            ("grep ERROR app.log", "grep -e x ERROR app.log"),
            // What shapes a command that is named.
            ("docker run --rm alpine id", "docker run --entrypoint sh --rm alpine id"),
            ("docker exec web ls", "docker exec -e BASH_ENV=/x web ls"),
            ("xargs ls", "xargs -I ls ls"),
            ("python -m pytest tests", "python -mpytest -m pytest tests"),
            // After an open statement or before it, only what is harmless.
            ("psql -c 'SELECT", "psql -h evil -c 'SELECT 1'"),
            ("mysql -e 'SELECT", "mysql -D other -e 'SELECT 1'"),
            ("unknown get", "unknown -v get"),
        ] {
            let parsed = Command::parse(command).unwrap();
            assert!(scope(&[prefix]).permits(&parsed).is_err(), "{prefix} / {command}");
        }
    }

    #[test]
    fn an_open_quote_matches_the_beginning_of_one_last_word() {
        for command in ["git commit -m 'fix: a'", "git commit -m fix:", "git commit -m \"fix: $\""]
        {
            let parsed = Command::parse(command);
            if let Ok(parsed) = parsed {
                assert!(scope(&["git commit -m 'fix:"]).permits(&parsed).is_ok(), "{command}");
            }
        }
        assert!(!permits("git commit -m 'fix:", "git commit -m 'Fix: a'"));
        assert!(!permits("git commit -m 'fix:", "git commit -m"));
        let refused = refusal(&["git commit -m 'fix:"], "git commit -m 'fix: a' --no-verify");
        assert!(matches!(refused.kind, RefusalKind::Beyond(_)) && refused.span == Some(23..34));
        let refused = refusal(&["x --m='a"], "x --m=abc y");
        assert_eq!((refused.kind, refused.span), (RefusalKind::WordFollows, Some(10..11)));
        assert!(permits("x --m='a", "x --m=abc"));
        assert!(!permits("x --m='a", "x --n=abc"));
    }

    #[test]
    fn an_open_sql_word_permits_one_statement_of_its_kind() {
        let select = "psql -c 'SELECT";
        for command in [
            "psql -c 'SELECT 1'",
            "psql -c \"SELECT 1\"",
            "psql --command 'SELECT 1'",
            "psql -c SELECT\\ 1",
            "psql -c 'select count(*) from users'",
            "psql -c 'SELECT 1;'",
            "psql -c '\n SELECT 1 ; \n'",
            "psql -c \"SELECT ';'\"",
            "psql -c \"SELECT '-- DELETE'\"",
            "psql -c 'SELECT a::text, updated_at FROM t -- done'",
        ] {
            assert!(permits(select, command), "{command}");
        }
        for command in [
            "psql -c 'SELECT 1; DROP TABLE users'",
            "psql -c 'WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x'",
            "psql -c 'SELECTX 1'",
            "psql -c 'SELECT 1' -c 'DROP TABLE users'",
            "psql -c 'SELECT 1' postgres://evil/db",
            "psql -c '\\! sh'",
            "psql -c 'SELECT 1 \\g |sh'",
            "psql -c 'DELETE FROM t'",
            "psql -c 'SELECT * INTO t FROM u'",
            "psql -c ''",
            "psql -c",
            "psql --comm 'SELECT 1'",
            "psql -h evil -c 'SELECT 1'",
        ] {
            assert!(!permits(select, command), "{command}");
        }
        for (prefix, yes, no) in [
            ("psql --command='SELECT", "psql --command='select 1'", "psql --command='drop x'"),
            ("psql -c'SELECT", "psql -c'select 1'", "psql -C'select 1'"),
            (
                "psql -h db -Atc 'SELECT",
                "psql -h db -Atc 'SELECT 1'",
                "psql -h db -Atc 'SELECT 1;a'",
            ),
            ("mysql -e 'SELECT", "mysql -e 'SELECT 1'", "mysql -e 'SELECT 1' -e 'DROP TABLE x'"),
            (
                "mariadb --execute='SHOW",
                "mariadb --execute='show tables'",
                "mariadb --execute='drop x'",
            ),
            (
                "sqlite3 a.db 'SELECT",
                "sqlite3 a.db 'SELECT 1'",
                "sqlite3 a.db 'SELECT 1\n.shell id'",
            ),
            (
                "sqlite3 a.db 'SELECT",
                "sqlite3 a.db 'select [a;b] from t'",
                "sqlite3 a.db 'SELECT [\"]; DROP TABLE t; --\"]'",
            ),
            (
                "sudo -u postgres psql -c 'SELECT",
                "sudo -u postgres psql -c 'SELECT 1'",
                "sudo -u postgres psql -c 'SELECT 1;x'",
            ),
            (
                "cockroach sql -e 'SELECT",
                "cockroach sql -e 'SELECT 1'",
                "cockroach sql -e 'SELECT $$;$$'",
            ),
            (
                "psql -c 'SELECT id FROM users",
                "psql -c 'select  id\nFrom USERS where id = 1'",
                "psql -c 'SELECT id FROM users_secret'",
            ),
            (
                "psql -c 'ALTER TABLE orders",
                "psql -c 'ALTER TABLE orders DROP COLUMN a'",
                "psql -c 'ALTER TABLE users DROP COLUMN a'",
            ),
            (
                "psql -c 'INSERT INTO t",
                "psql -c \"INSERT INTO t VALUES ('a;b')\"",
                "psql -c 'INSERT INTO t WITH x AS (DELETE FROM u RETURNING *) SELECT * FROM x'",
            ),
        ] {
            assert!(permits(prefix, yes), "{prefix} / {yes}");
            assert!(!permits(prefix, no), "{prefix} / {no}");
        }
    }

    #[test]
    fn a_prefix_that_cannot_be_enforced_is_refused_when_built() {
        let none = CommandScope::new([]).unwrap_err();
        assert_eq!(
            none.to_string(),
            "`allowed` is empty; list at least one prefix, such as `kubectl get pods`"
        );
        for prefix in [
            "", "  ", "*", "ls | sh", "FOO=1 ls", "ls $x", "'", "'kube", "'' x", "if", "ls\nid",
            "a\0",
        ] {
            assert!(CommandScope::new([prefix.to_owned()]).is_err(), "{prefix:?}");
        }
        for prefix in [
            "psql -c '",
            "psql -c 'SEL",
            "psql -c '\\!",
            "psql -c '\\",
            "psql -c 'SELECT 1;",
            "mysql -e 'system",
            "sqlite3 a.db '.dump",
            "psql -c \"SELECT 'a",
            "psql --command='",
            "psql --comm='x",
        ] {
            let error = CommandScope::new([prefix.to_owned()]).expect_err(prefix);
            assert!(matches!(error.kind, PrefixErrorKind::Sql(_)), "{prefix}: {error}");
        }
        let error = prefix_error("kubectl get | sh");
        assert_eq!((error.index, error.span()), (1, Some(12..13)));
        assert!(
            error.to_string().starts_with(
                "prefix 2 of `allowed`, `kubectl get | sh`: `|` at character 13 needs a shell"
            ),
            "{error}"
        );
    }

    #[test]
    fn refusals_tell_what_is_allowed() {
        assert_eq!(
            refusal(&["kubectl get pods", "kubectl logs"], "kubectl delete pod web-0").to_string(),
            "`kubectl delete pod web-0` is outside the scope of this token; \
             allowed are commands that begin with `kubectl get pods` or `kubectl logs`"
        );
        let message = refusal(&["psql -c 'SELECT"], "psql -c 'SELECT 1; DROP TABLE u'").to_string();
        assert!(
            message.contains("`;` at character 9 of the SQL would begin a second statement"),
            "{message}"
        );
        assert!(message.ends_with("begin with `psql -c 'SELECT`"), "{message}");
        let long = "x".repeat(60_000);
        let many: Vec<String> = (0..100).map(|n| format!("p{n}{}", "y".repeat(1000))).collect();
        let scope = CommandScope::new(many).unwrap();
        let refused = scope.permits(&Command::parse(&long).unwrap()).unwrap_err().to_string();
        assert!(refused.len() < 2000 && refused.ends_with("or 92 more"), "{refused}");
        let hidden = refusal(&["ls"], "rm '\u{202e}\x1b[2J'").to_string();
        assert!(!hidden.contains(['\u{202e}', '\x1b']), "{hidden}");
    }

    #[test]
    fn wide_prefixes_are_named() {
        for prefix in [
            "bash",
            "sh -c",
            "bash -c",
            "bash -c 'echo",
            "python",
            "python3.12 -c",
            "python -m",
            "perl -e",
            "node -e",
            "sudo",
            "sudo kubectl",
            "ssh host",
            "make",
            "npm run",
            "docker run",
            "kubectl exec",
            "find",
            "kubectl",
            "git",
            "aws",
            "aws ec2",
            "psql",
            "psql -c",
            "vim",
            "rm",
            "curl",
            "/bin/bash",
            "sudo -u root bash",
            "docker exec db sh -c 'psql",
            "kubectl exec web -- sh",
            "kubectl exec web",
            "env -i A=1 sudo -n python3",
            "timeout 5 bash -c",
            "kubectl -n prod",
            "echo '",
            "'*'",
        ] {
            assert!(scope(&[prefix]).prefixes()[0].is_wide().is_some(), "{prefix}");
        }
        for prefix in [
            "kubectl get pods",
            "git log",
            "bash deploy.sh",
            "python manage.py check",
            "make test",
            "npm run lint",
            "psql -c 'SELECT",
            "git commit -m '",
            "env A=1 kubectl get pods",
            "env",
            "xargs kubectl get pods",
            "ssh host uptime",
            "find . -name x",
            "psql -c 'SELECT 1'",
            "awk '{print",
            "uptime",
            "sqlite3 a.db 'SELECT",
            "aws ec2 describe-instances",
        ] {
            assert_eq!(scope(&[prefix]).prefixes()[0].is_wide(), None, "{prefix}");
        }
    }

    #[test]
    fn a_narrower_scope_is_proved_or_denied() {
        let cases: &[(&[&str], &[&str], bool)] = &[
            (&["kubectl get pods"], &["kubectl get"], true),
            (&["kubectl get pods"], &["kubectl get pods"], true),
            (&["kubectl get", "kubectl logs x"], &["kubectl logs", "kubectl get"], true),
            (&["kubectl get"], &["kubectl get pods"], false),
            (&["kubectl get", "ls"], &["kubectl get"], false),
            (&["psql -c 'SELECT"], &["psql -c"], false),
            (&["psql -c 'SELECT"], &["psql"], false),
            (&["kubectl get pods --server=x"], &["kubectl get pods"], false),
            (&["kubectl get pods -n prod"], &["kubectl get pods"], true),
            (&["kubectl get pods -o"], &["kubectl get pods"], false),
            (&["unknown-tool a 'b"], &["unknown-tool"], true),
            (&["unknown-tool --all"], &["unknown-tool"], true),
            // Deeper than is looked: it permits nothing, and no more than itself.
            (
                &["x sudo sudo sudo sudo sudo sudo sudo a"],
                &["x sudo sudo sudo sudo sudo sudo sudo a"],
                true,
            ),
            (&["unknown-tool --pager"], &["unknown-tool"], false),
            (&["unknown-tool a --on-exit-hook=x"], &["unknown-tool a"], false),
            (&["unknown-tool '--ex"], &["unknown-tool"], false),
            (&["unknown-tool '--exec="], &["unknown-tool '--"], false),
            (&["unknown-tool '--exec="], &["unknown-tool '--exec="], true),
            (&["psql -c 'SELECT a FROM t"], &["psql -c 'select"], true),
            (&["psql -c 'SELECT"], &["psql -c 'SELECT a"], false),
            (&["psql -c 'SELECT 1'"], &["psql -c 'SELECT"], false),
            (&["psql -c 'SELECT lo_export"], &["psql -c 'SELECT"], false),
            (&["psql -c 'SELECT 1 FOR UPDATE"], &["psql -c 'SELECT"], false),
            (&["psql -c 'INSERT OR REPLACE"], &["psql -c 'INSERT"], false),
            (&["git commit -m 'fix: x"], &["git commit -m 'fix"], false),
            (&["git commit -m 'fix"], &["git commit -m 'fix"], true),
            (&["unknown-tool 'ab"], &["unknown-tool 'a"], true),
            (&["unknown-tool 'http://h"], &["unknown-tool 'http://"], false),
            (&["unknown-tool 'SET a = 1"], &["unknown-tool 'SET a"], true),
            (&["unknown-tool 'SET a = do -"], &["unknown-tool 'SET a"], false),
            (&["unknown-tool 'http://h:80"], &["unknown-tool 'http://h"], false),
            (&["unknown-tool 'a/ "], &["unknown-tool 'a/"], false),
            (&["git commit -m 'fix"], &["git commit -m 'fix: x"], false),
            (&["git commit -m fix"], &["git commit -m 'fix"], false),
        ];
        for (narrow, wide, expected) in cases {
            assert_eq!(scope(narrow).narrows(&scope(wide)), *expected, "{narrow:?} / {wide:?}");
        }
    }

    #[test]
    fn a_command_keeps_its_source_and_spans() {
        let command = Command::parse(" ls 'a b' ").unwrap();
        assert_eq!(command.argv(), ["ls", "a b"]);
        assert_eq!(command.program(), "ls");
        assert_eq!(command.spans(), [1..3, 4..9]);
        assert_eq!(command.source(), " ls 'a b' ");
    }
}
