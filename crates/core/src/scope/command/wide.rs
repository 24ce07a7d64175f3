//! Which prefixes amount to nearly anything. What is said here is a warning for people and decides
//! nothing; it goes by lists of known programs, so that silence is no proof.

use super::{OpenWord, base_name};

/// A program's name without its directory and version: `python` for `/usr/bin/python3.12`.
fn family(program: &str) -> &str {
    base_name(program).trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
}

fn is_listed(word: &str, list: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == word)
}

const INTERPRETERS: &str = "sh bash dash zsh ksh fish busybox ash pwsh python pypy perl ruby node nodejs \
    php lua Rscript deno bun osascript awk gawk mawk tclsh expect jshell";
const WRAPPERS: &str = "env sudo doas nohup nice ionice timeout setsid stdbuf time strace chroot unshare \
    nsenter flock exec command";
const LAUNCHERS: &str = "xargs ssh su watch parallel script eval npx bunx pipx uvx at entr find fd vi vim nvim nano emacs ed \
    ex less more man gdb";
const WITH_SUBCOMMANDS: &str = "kubectl oc git gh glab docker podman nerdctl helm terraform tofu pulumi \
    systemctl npm yarn pnpm cargo go make just pip uv apt apt-get dnf yum apk brew nomad vault consul \
    argocd flux ansible ansible-playbook gradle mvn redis-cli mongosh crontab ip kill pkill aws gcloud az";
const SQL_CLIENTS: &str = "psql mysql mariadb sqlite";
const REACHING: &str = "curl wget nc ncat socat scp rsync";
const TOUCHING: &str = "rm mv cp dd tee cat chmod chown ln install tar sed truncate shred";

/// Why whole words, and an open one perhaps, allow nearly anything.
pub(super) fn wide(words: &[&str], open: Option<&OpenWord>) -> Option<&'static str> {
    let (program, arguments) = words.split_first()?;
    let name = family(program);
    let is = |list: &str| is_listed(name, list);
    let mut named = arguments.iter().filter(|word| !word.starts_with('-'));
    let (first, second, third) = (named.next(), named.next(), named.next());
    let is_text = matches!(open, Some(OpenWord::Text(_)));
    let is_bare = first.is_none() && open.is_none();
    if is(INTERPRETERS) && (first.is_none() || is_text) {
        return Some("an interpreter runs any code that it is given");
    }
    if is(LAUNCHERS) {
        return Some("its arguments or input may name any command");
    }
    if is(SQL_CLIENTS) && !matches!(open, Some(OpenWord::Sql { .. })) {
        return Some(
            "any SQL and the client's own commands may follow; leave the SQL's quote open",
        );
    }
    let own = |word: &&&str| word.contains('=') || word.starts_with(|c: char| c.is_ascii_digit());
    // Where the word stands that names the inner command, if this program runs one.
    let command = match first {
        _ if is(WRAPPERS) => Some([first, second].into_iter().flatten().find(|word| !own(word))),
        Some(&("run" | "run-script" | "x" | "dlx" | "compose")) if is(WITH_SUBCOMMANDS) => {
            Some(second)
        }
        Some(&("exec" | "debug")) if is(WITH_SUBCOMMANDS) => Some(third),
        _ => None,
    };
    if let Some(command) = command {
        // What such a program runs is judged in its place, at the first word that is known.
        let subcommand = arguments.iter().position(|word| !word.starts_with('-'));
        let skipped = if is(WRAPPERS) { 0 } else { subcommand.map_or(0, |at| at + 1) };
        let candidates = arguments.get(skipped..).unwrap_or_default();
        let lists = [INTERPRETERS, WRAPPERS, LAUNCHERS, WITH_SUBCOMMANDS, SQL_CLIENTS];
        let is_known = |word: &&str| lists.iter().any(|list| is_listed(family(word), list));
        let inner = candidates.iter().position(is_known);
        return match inner.and_then(|at| candidates.get(at..)) {
            Some(inner) => wide(inner, open),
            None => command.is_none().then_some("it runs whatever command follows"),
        };
    }
    if is_listed(name, "aws gcloud az") && second.is_none() && open.is_none() {
        return Some("it allows every operation of the service");
    }
    if is(WITH_SUBCOMMANDS) && is_bare {
        return Some("every subcommand of it is allowed");
    }
    if is(REACHING) && first.is_none() {
        return Some("it may reach any address");
    }
    if is(TOUCHING) && first.is_none() {
        return Some("it may touch any file");
    }
    match (open, arguments.last()) {
        (Some(OpenWord::Text(text)), before)
            if text.is_empty() && !before.is_some_and(|word| word.starts_with('-')) =>
        {
            Some("an empty open quote allows any word, options included")
        }
        _ => (name == "*").then_some("it is no pattern here; name a program"),
    }
}
