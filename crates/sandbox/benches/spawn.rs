//! What a start costs: a bare `posix_spawn` of `/bin/true`, and the same through the helper.

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

fn main() {
    lar_sandbox::init();
    divan::main();
}

/// The floor: the standard library's `posix_spawn`, an empty environment, output to a pipe.
#[divan::bench]
fn bare() {
    let mut command = std::process::Command::new("/bin/true");
    command.env_clear().stdin(std::process::Stdio::null());
    divan::black_box(command.output().unwrap());
}

/// From the call to the reaped helper, all events read and the tree empty.
#[divan::bench]
fn through_the_helper(bencher: divan::Bencher<'_, '_>) {
    let spec = spec();
    bencher.bench_local(|| run(&spec));
}

/// A helper that finds nothing to run: its own share of the above.
#[divan::bench]
fn the_helper_alone(bencher: divan::Bencher<'_, '_>) {
    let spec = lar_sandbox::ChildSpec { program: "/no/such/program".into(), ..spec() };
    bencher.bench_local(|| run(&spec));
}

/// The call alone, as long as the caller's thread is held up. The rest is waited for, not counted.
#[divan::bench]
fn the_call_alone(bencher: divan::Bencher<'_, '_>) {
    let spec = spec();
    bencher
        .with_inputs(|| std::thread::sleep(std::time::Duration::from_millis(4)))
        .bench_local_values(|()| lar_sandbox::spawn(&spec).unwrap());
}

fn run(spec: &lar_sandbox::ChildSpec) {
    let mut child = lar_sandbox::spawn(spec).unwrap();
    while let Some(event) = child.next_event().unwrap() {
        divan::black_box(event);
    }
    child.wait_helper().unwrap();
}

fn spec() -> lar_sandbox::ChildSpec {
    let program = std::path::PathBuf::from("/bin/true");
    lar_sandbox::ChildSpec {
        expected: lar_sandbox::FileIdentity::of(&program).unwrap(),
        pinned: Vec::new(),
        program,
        argv: vec!["true".into()],
        env: Vec::new(),
        workdir: "/".into(),
        confinement: lar_sandbox::Confinement::default(),
    }
}
