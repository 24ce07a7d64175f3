//! The parent's end of a child's network: it takes the child's connections, looks up and dials only what
//! is granted, and passes bytes on.
//!
//! A name that a person wrote may stand for any address. One that the child chose, below a domain that
//! was granted, must not lead to this machine or the own network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use lar_core::scope::Endpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::network::Route;

/// How many connections a child may have at once.
const CONNECTIONS: usize = 128;
/// How long a name may take to be looked up and a connection to be opened, each.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long connections are refused after the server could not be reached.
const DEAF: Duration = Duration::from_secs(3);
/// How many connections may wait to be taken.
const BACKLOG: i32 = 128;
/// The longest request to the proxy, in bytes.
const LONGEST_REQUEST: usize = 8 << 10;

/// Serves a child's network once its listeners are there.
pub struct Broker {
    routes: Vec<Route>,
}

/// A network that is being served; it ends when this is dropped.
pub(crate) struct Serving {
    _tasks: JoinSet<()>,
}

impl Broker {
    pub(super) fn new(routes: Vec<Route>) -> Self {
        Self { routes }
    }

    /// Takes the listeners, one for each route, and serves them until the answer is dropped. To be
    /// called within a tokio runtime.
    pub(crate) fn serve(self, listeners: Vec<OwnedFd>) -> io::Result<Serving> {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut tasks = JoinSet::new();
        for (listener, route) in listeners.into_iter().zip(self.routes) {
            let listener = std::net::TcpListener::from(listener);
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            tasks.spawn(accept(listener, Arc::new(route), Arc::clone(&places)));
        }
        Ok(Serving { _tasks: tasks })
    }
}

/// Takes connections for one route. Those that are under way end with this.
async fn accept(mut listener: TcpListener, route: Arc<Route>, places: Arc<Semaphore>) {
    let mut under_way = JoinSet::new();
    let (refuses, mut refused) = tokio::sync::mpsc::channel(1);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(()) = refused.recv() => {
                drop(place);
                match deaf(listener).await {
                    Ok(again) => listener = again,
                    Err(_) => return,
                }
                continue;
            }
        };
        let Ok((stream, _)) = accepted else {
            // Descriptors may be used up; others will end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (route, refuses) = (Arc::clone(&route), refuses.clone());
        under_way.spawn(async move {
            let _place = place;
            if serve(stream, &route).await == Served::Refused {
                let _ = refuses.try_send(());
            }
        });
        while under_way.try_join_next().is_some() {}
    }
}

/// Refuses connections for a while, as the server does: the child learns that it is not reached, and
/// doesn't take it for a server that breaks off. A socket that was shut down can listen again.
async fn deaf(listener: TcpListener) -> io::Result<TcpListener> {
    // Out of the reactor meanwhile, which would take the shutdown for the end of the socket.
    let listener = listener.into_std()?;
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Read)?;
    tokio::time::sleep(DEAF).await;
    rustix::net::listen(&listener, BACKLOG)?;
    TcpListener::from_std(listener)
}

#[derive(Debug, PartialEq, Eq)]
enum Served {
    Done,
    /// The server could not be reached, so that not a byte was passed on.
    Refused,
}

async fn serve(mut child: TcpStream, route: &Route) -> Served {
    let server = match route {
        Route::To(endpoint) => dial(endpoint).await,
        Route::Proxy(granted) => match proxy(&mut child, granted).await {
            Ok(server) => {
                let told = child.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
                told.map(|()| server)
            }
            Err(refused) => {
                let answer = format!(
                    "HTTP/1.1 {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: \
                     close\r\n\r\n{}\n",
                    refused.status,
                    refused.why.len() + 1,
                    refused.why
                );
                let _ = child.write_all(answer.as_bytes()).await;
                return Served::Done;
            }
        },
    };
    let Ok(mut server) = server else {
        // Closed at once and not in order, so that nobody waits for an answer.
        let _ = child.set_zero_linger();
        return if matches!(route, Route::To(_)) { Served::Refused } else { Served::Done };
    };
    let _ = (child.set_nodelay(true), server.set_nodelay(true));
    let _ = tokio::io::copy_bidirectional(&mut child, &mut server).await;
    Served::Done
}

async fn dial(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let host = match (endpoint.address(), endpoint.name()) {
        (Some(ip), _) => return in_time(TcpStream::connect((ip, endpoint.port()))).await,
        (None, Some(name)) => name,
        (None, None) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    in_time(TcpStream::connect((host, endpoint.port()))).await
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}

/// What the child is told instead of a connection.
struct Refused {
    status: &'static str,
    why: String,
}

/// Reads a CONNECT request (RFC 9110, 9.3.6) and opens the connection that it asks for, if it is
/// granted.
async fn proxy(child: &mut TcpStream, granted: &[Endpoint]) -> Result<TcpStream, Refused> {
    let bad = |why: &str| Refused { status: "400 Bad Request", why: why.to_owned() };
    let head = in_time(read_head(child)).await.map_err(|_| bad("the request can't be read"))?;
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (Some("CONNECT"), Some(target), Some(_), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refused {
            status: "405 Method Not Allowed",
            why: "only CONNECT is served here".to_owned(),
        });
    };
    let (host, port) = target.rsplit_once(':').ok_or_else(|| bad("the target has no port"))?;
    let port: u16 = port.parse().map_err(|_| bad("the target has no port"))?;
    let by = |wildcard: bool| {
        granted
            .iter()
            .any(|endpoint| endpoint.is_wildcard() == wildcard && endpoint.permits(host, port))
    };
    let (exact, below) = (by(false), by(true));
    if !exact && !below {
        return Err(Refused {
            status: "403 Forbidden",
            why: format!("{host}:{port} is not among what the token grants"),
        });
    }
    let unreachable = |why: String| Refused { status: "502 Bad Gateway", why };
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let found = in_time(tokio::net::lookup_host((bare, port))).await;
    let found: Vec<SocketAddr> =
        found.map_err(|_| unreachable(format!("{host} can't be looked up")))?.collect();
    let allowed: Vec<SocketAddr> =
        found.into_iter().filter(|address| exact || is_public(address.ip())).collect();
    if allowed.is_empty() {
        return Err(unreachable(format!("{host} leads to an address of the own network")));
    }
    in_time(TcpStream::connect(allowed.as_slice()))
        .await
        .map_err(|error| unreachable(format!("{host}:{port} can't be reached ({})", error.kind())))
}

/// Reads to the empty line and not a byte beyond it: what follows is for the server.
async fn read_head(child: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= LONGEST_REQUEST || child.read(&mut byte).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&byte);
    }
    String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Whether an address is one of the internet at large. Written for names that a child chose.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(ip) => match within(ip) {
            Some(ip) => is_public(ip.into()),
            None => {
                let [first, ..] = ip.segments();
                !(ip.is_loopback()
                    || ip.is_unspecified()
                    || ip.is_multicast()
                    || ip.is_unique_local()
                    || ip.is_unicast_link_local()
                    // The former site-local addresses, and those that carry an IPv4 address out of
                    // sight (Teredo).
                    || first & 0xffc0 == 0xfec0
                    || matches!(ip.segments(), [0x2001, 0, ..]))
            }
        },
    }
}

/// The IPv4 address that an IPv6 address stands for, which a translator on the way would reach: mapped and
/// compatible ones (RFC 4291), 6to4 (RFC 3056), and NAT64 (RFC 6052, RFC 8215).
fn within(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0 | 1, _, _, _, high, low] => {
            of(high, low)
        }
        [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker with listeners on this machine's loopback, as a child's would be.
    async fn served(routes: Vec<Route>) -> (Serving, Vec<SocketAddr>) {
        let listeners: Vec<_> = routes.iter().map(|_| listener()).collect();
        let addresses = listeners.iter().map(|held| held.local_addr().unwrap()).collect();
        let serving =
            Broker::new(routes).serve(listeners.into_iter().map(OwnedFd::from).collect()).unwrap();
        (serving, addresses)
    }

    /// Bound to a port by its number, as a child's are: one that the kernel chose is given up when the
    /// socket is shut down, and listening again would be elsewhere.
    fn listener() -> std::net::TcpListener {
        loop {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            if let Ok(listener) = std::net::TcpListener::bind(free) {
                return listener;
            }
        }
    }

    /// A server that says hello, and its address.
    async fn hello() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(b"hello").await;
            }
        });
        address
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn a_granted_endpoint_is_dialled_and_nothing_else() {
        let server = hello().await;
        let to = Route::To(format!("localhost:{}", server.port()).parse().unwrap());
        let (serving, addresses) = served(vec![to]).await;
        assert_eq!(ask(addresses[0], "").await, "hello");
        drop(serving);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(TcpStream::connect(addresses[0]).await.is_err(), "it ends with its child");
    }

    #[tokio::test]
    async fn a_server_that_is_gone_refuses() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let to = Route::To(format!("127.0.0.1:{}", gone.port()).parse().unwrap());
        let (_serving, addresses) = served(vec![to]).await;
        // The first connection is cut or refused, whichever the broker finds out in time.
        if let Ok(mut stream) = TcpStream::connect(addresses[0]).await {
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            assert_eq!(answer, "");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let refused = TcpStream::connect(addresses[0]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // It comes back.
        let back = std::net::TcpListener::bind(gone).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = back.accept().unwrap();
            std::io::Write::write_all(&mut stream, b"back").unwrap();
        });
        tokio::time::sleep(DEAF + Duration::from_millis(500)).await;
        assert_eq!(ask(addresses[0], "").await, "back");
    }

    #[tokio::test]
    async fn the_proxy_connects_to_what_is_granted() {
        let server = hello().await;
        let port = server.port();
        let granted: Vec<Endpoint> = [
            format!("127.0.0.1:{port}"),
            format!("*.example.test:{port}"),
            format!("*.localhost.test:{port}"),
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        let (_serving, addresses) = served(vec![Route::Proxy(granted)]).await;
        let connect = |target: String| format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = ask(addresses[0], &connect(format!("127.0.0.1:{port}"))).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
        for (target, status) in [
            (format!("127.0.0.1:{}", port.wrapping_add(1)), "403"),
            (format!("evil.test:{port}"), "403"),
            (format!("example.test:{port}"), "403"),
            (format!("a.example.test:{port}"), "502"),
            ("nonsense".to_owned(), "400"),
        ] {
            let answer = ask(addresses[0], &connect(target.clone())).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
        }
        let answer = ask(addresses[0], "GET http://127.0.0.1/ HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }

    #[test]
    fn a_name_that_the_child_chose_leads_nowhere_inside() {
        for inside in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::10.0.0.1",
            "2002:a9fe:a9fe::1",
            "2001:0:1:2:3:4:5:6",
            "fec0::1",
            "198.18.0.1",
            "192.0.0.170",
            "255.255.255.255",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "64:ff9b::93.184.216.34",
            "2a00:1450:4001::200e",
            "93.184.216.34",
            "2606:2800:220:1::1",
            "::ffff:93.184.216.34",
        ] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }
}
