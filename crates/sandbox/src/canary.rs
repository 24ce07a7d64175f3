//! What a hostile child would try first, tried from inside the walls. Each line that it writes is the
//! name of an attempt and what came of it: `held` or `open`.
//!
//! It is told where the outside is by its arguments: a file that only the parent's user can read, the
//! port on which the parent listens, and the parent's process id.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;

use crate::sys;

/// Tries everything and ends this process.
pub(crate) fn sing(arguments: &[OsString]) -> io::Error {
    let told = |index: usize| arguments.get(index).map(OsString::as_os_str).unwrap_or_default();
    let number = |index: usize| told(index).to_str().and_then(|text| text.parse::<i32>().ok());
    let outside = PathBuf::from(told(0));
    let port = number(1).and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    let parent = number(2).and_then(Pid::from_raw);
    let network = told(3) == "network";

    let mut lines = String::new();
    let mut tell = |name: &str, held: bool| {
        lines.push_str(name);
        lines.push_str(if held { " held\n" } else { " open\n" });
    };
    tell("read-outside", File::open(&outside).is_err());
    tell("write-outside", write_beside(&outside).is_err());
    if !network {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        tell("connect-tcp", TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err());
    }
    tell("udp-socket", UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).is_err());
    tell("unix-socket", UnixDatagram::unbound().is_err());
    if let Some(parent) = parent.filter(|parent| *parent != rustix::process::getpid()) {
        tell("signal-parent", rustix::process::test_kill_process(parent).is_err());
    }
    for (name, attempt) in sys::forbidden() {
        tell(name, attempt().is_err());
    }
    tell("capabilities", no_capabilities());
    // The last, since where it succeeds nothing more is heard of this program. The parent misses its
    // line then.
    let _ = io::stdout().write_all(lines.as_bytes());
    let _ = io::stdout().flush();
    let held = sys::exec_path(c"/bin/sh", &[c"sh".into()], &[]).raw_os_error().is_some();
    let _ = io::stdout().write_all(if held { b"execute held\n" } else { b"execute open\n" });
    let _ = io::stdout().flush();
    sys::exit_now(0)
}

fn write_beside(outside: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).open(outside)
}

fn no_capabilities() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|held| held.effective.is_empty() && held.permitted.is_empty())
}
