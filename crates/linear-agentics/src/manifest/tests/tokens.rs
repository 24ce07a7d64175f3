//! What each kind of token refuses.

use super::*;

#[test]
fn a_prefix_that_needs_a_shell() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = ["kubectl get pods", "kubectl logs \"a b\" | grep x"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `pods`: prefix 2 of `allowed`, `kubectl logs "a b" | grep x`: `|` at character 20 needs a shell, and none is used; run one program a call, or quote it if it is meant literally
 --> manifest.toml:8:54
  |
8 | allowed = ["kubectl get pods", "kubectl logs \"a b\" | grep x"]
  |                                                      ^
  |
  = help: a command is never given to a shell, so a prefix can't need one
"#);
}

#[test]
fn two_bad_prefixes() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = ["", "echo $HOME"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `pods`: prefix 1 of `allowed`, ``: it is empty; name at least a program
 --> manifest.toml:8:12
  |
8 | allowed = ["", "echo $HOME"]
  |            ^^

error: token `pods`: prefix 2 of `allowed`, `echo $HOME`: `$` at character 6 asks a shell to substitute, and none is used; write the value out, or put it in single quotes if it is meant literally
 --> manifest.toml:8:22
  |
8 | allowed = ["", "echo $HOME"]
  |                      ^
  |
  = help: a command is never given to a shell, so a prefix can't need one
"#);
}

#[test]
fn no_prefix() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = []
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `allowed` is empty; list at least one
 --> manifest.toml:8:11
  |
8 | allowed = []
  |           ^^
"#);
}

#[test]
fn a_bad_url() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "http"
name = "health"
url = "api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `health`: `url`: `api.internal/health` is not a URL (relative URL without a base); write it as `https://host/path`
 --> manifest.toml:8:7
  |
8 | url = "api.internal/health"
  |       ^^^^^^^^^^^^^^^^^^^^^
"#);
}

#[test]
fn a_password_in_a_url() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "http"
name = "health"
url = "https://admin:hunter2@api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `health`: `url`: the URL carries a user name or password; use a secret token with a header
 --> manifest.toml:8:7
  |
8 | url = "https://*************@api.internal/health"
  |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
"#);
}

#[test]
fn a_bad_method() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "http"
name = "health"
url = "https://api.internal/health"
methods = ["GET", "FETCH"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `health`: `methods`: `FETCH` is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS
 --> manifest.toml:9:19
  |
9 | methods = ["GET", "FETCH"]
  |                   ^^^^^^^
"#);
}

#[test]
fn a_bad_header() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "http"
name = "health"
url = "https://api.internal/health"
methods = ["GET"]
headers = { Accept = "text/plain", Host = "evil" }
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `health`: `headers`: header `Host` is set by the client itself; remove it
  --> manifest.toml:10:36
   |
10 | headers = { Accept = "text/plain", Host = "evil" }
   |                                    ^^^^
"#);
}

#[test]
fn a_bad_mode() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "file"
name = "config"
allowed_paths = ["/etc/app"]
mode = "rw"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `rw` is no `mode` of token `config`
 --> manifest.toml:9:8
  |
9 | mode = "rw"
  |        ^^^^
  |
  = help: `mode` is one of `read`, `write`, `readwrite`
"#);
}

#[test]
fn every_file() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "file"
name = "config"
allowed_paths = ["conf", "../../.."]
mode = "read"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `config`: `allowed_paths`: `/` would allow every file; name a directory
 --> manifest.toml:8:26
  |
8 | allowed_paths = ["conf", "../../.."]
  |                          ^^^^^^^^^^
"#);
}

#[test]
fn a_tilde() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "file"
name = "config"
allowed_paths = ["~/.config"]
mode = "read"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `config`: `allowed_paths`: `~` in `~/.config` is not expanded; write the path out
 --> manifest.toml:8:18
  |
8 | allowed_paths = ["~/.config"]
  |                  ^^^^^^^^^^^
"#);
}

#[test]
fn a_bad_variable() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = ["ls"]
env = ["KUBECONFIG", "LD_PRELOAD"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `pods`: `env`: `LD_PRELOAD` decides which code a program loads; a token can't pass it on
 --> manifest.toml:9:22
  |
9 | env = ["KUBECONFIG", "LD_PRELOAD"]
  |                      ^^^^^^^^^^^^
"#);
}

#[test]
fn keys_of_the_other_method() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "deploy"
name = "prod"
method = "kubectl"
target = "prod"
image = "app:v2"
argv = ["./deploy"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `prod`: `argv` belongs to `method = "command"`
  --> manifest.toml:11:1
   |
11 | argv = ["./deploy"]
   | ^^^^
"#);
}

#[test]
fn a_command_deployment_without_argv() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "deploy"
name = "prod"
method = "command"
target = "prod"
image = "app:v2"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `argv` is missing in token `prod`
 --> manifest.toml:5:1
  |
5 | [[token]]
  | ^^^^^^^^^
  |
  = help: a deployment by `command` says what runs: `argv = ["program", …]`
"#);
}

#[test]
fn a_bad_rollback_argv() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "deploy"
name = "prod"
method = "command"
target = "prod"
image = "app:v2"
argv = ["./deploy", "{image}"]
rollback_to = "app:v1"
rollback_argv = ["./deploy", "{tag}"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `prod`: `rollback_argv`: `{tag}` holds a placeholder other than `{image}` and `{target}`
  --> manifest.toml:13:30
   |
13 | rollback_argv = ["./deploy", "{tag}"]
   |                              ^^^^^^^
"#);
}

#[test]
fn a_database_in_three_wrong_ways() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "database"
name = "nowhere"
allowed_patterns = ["SELECT"]

[[token]]
kind = "database"
name = "twice"
dsn_env = "A"
dsn_file = "b"
allowed_patterns = ["SELECT"]

[[token]]
kind = "database"
name = "guess"
dsn_env = "A"
allowed_patterns = ["SELECT", "GUESS"]

[[token]]
kind = "database"
name = "leak"
dsn = "host=db password=hunter2hunter2"
allowed_patterns = ["SELECT"]
"#;
    let told = refused(text);
    for part in [
        "doesn't say where the database is: `dsn`, `dsn_env` or `dsn_file`",
        "says more than once where the database is: `dsn_env`, `dsn_file`; keep one",
        "`GUESS`: the SQL does not begin with a statement's keyword",
        "`dsn`: is no address; write `postgres://ROLE@HOST/DATABASE` or `sqlite:FILE`",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
}
