//! Names of tokens and of their tools.

use super::*;

#[test]
fn two_tokens_of_one_name() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = ["ls"]

[[candidate]]
kind = "http"
name = "pods"
url = "https://api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: two tokens are named `pods`
  --> manifest.toml:12:8
   |
 7 | name = "pods"
   |        ------ the first one
...
12 | name = "pods"
   |        ^^^^^^
   |
   = help: rename one of them
"#);
}

#[test]
fn two_tokens_of_one_tool() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = ["ls"]

[[token]]
kind = "http"
name = "shell_pods"
url = "https://api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: tokens `pods` and `shell_pods` are both the tool `shell_pods`
  --> manifest.toml:12:8
   |
 7 | name = "pods"
   |        ------ the first one
...
12 | name = "shell_pods"
   |        ^^^^^^^^^^^^
   |
   = help: rename one of them
"#);
}

#[test]
fn a_name_of_the_runtime() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "http"
name = "request_approval"
url = "https://api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: the runtime has a tool `request_approval` of its own
 --> manifest.toml:7:8
  |
7 | name = "request_approval"
  |        ^^^^^^^^^^^^^^^^^^
  |
  = help: rename the token
"#);
}

#[test]
fn a_bad_name() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "my pods"
allowed = ["ls"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `my pods`: a name is made of letters, digits, `_` and `-` (ASCII)
 --> manifest.toml:7:8
  |
7 | name = "my pods"
  |        ^^^^^^^^^
"#);
}
