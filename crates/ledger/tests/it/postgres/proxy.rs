//! A proxy on loopback between a ledger and its server, which cuts the connection at a chosen moment
//! of a chosen request.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// When a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Moment {
    /// The request never reaches the server.
    BeforeTheRequest,
    /// The server gets half of it.
    WithinTheRequest,
    /// The server has made it and answered, and nothing of the answer arrives.
    BeforeTheAnswer,
    /// Half of the answer arrives.
    WithinTheAnswer,
    /// The whole answer arrives, and the server is gone: the next connection is refused.
    AfterTheAnswer,
    /// The request arrives and the answer never does, but the connection stays open.
    Never,
}

#[derive(Default)]
struct Plan {
    /// What a request holds that is cut, and when. Once.
    cut: Option<(Vec<u8>, Moment)>,
    /// How long each answer takes longer.
    delay: Duration,
    cuts: u32,
    /// How many connections are refused.
    refusals: u32,
    /// What a request holds that waits here, who is told that it does, and what it waits for. Once.
    hold: Option<(Vec<u8>, Sender<()>, Receiver<()>)>,
}

/// What the server says last in an answer to a statement by itself: it is ready, and in no transaction.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// A request that waits on its way.
pub struct Held {
    arrived: Receiver<()>,
    go_on: Sender<()>,
}

impl Held {
    /// Waits until the request has come this far.
    pub fn arrived(&self) {
        self.arrived.recv_timeout(Duration::from_secs(20)).unwrap();
    }

    /// Lets it go on.
    pub fn go_on(self) {
        self.go_on.send(()).unwrap();
    }
}

/// A running proxy. It ends with the test's process.
pub struct Proxy {
    port: u16,
    plan: Arc<Mutex<Plan>>,
}

impl Proxy {
    pub fn start(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Arc::new(Mutex::new(Plan::default()));
        let shared = Arc::clone(&plan);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let refusals = &mut shared.lock().unwrap().refusals;
                if *refusals > 0 {
                    *refusals -= 1;
                    continue;
                }
                // A server that is down refuses; so does its proxy.
                if let Ok(server) = UnixStream::connect(&socket) {
                    carry(client, server, &shared);
                }
            }
        });
        Self { port, plan }
    }

    /// The address of a server, through here.
    pub fn url(&self, url: &str) -> String {
        let (role, rest) = url.split_once('@').unwrap();
        let (_, database) = rest.split_once('/').unwrap();
        format!("{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// Cuts the connection once, at this moment of the next request that holds `mark`.
    pub fn cut(&self, mark: &str, moment: Moment) {
        self.plan.lock().unwrap().cut = Some((mark.as_bytes().to_vec(), moment));
    }

    /// Keeps the next request that holds `mark` from the server until it is let go on.
    pub fn hold(&self, mark: &str) -> Held {
        let ((tell, arrived), (go_on, wait)) = (channel(), channel());
        self.plan.lock().unwrap().hold = Some((mark.as_bytes().to_vec(), tell, wait));
        Held { arrived, go_on }
    }

    /// Makes each answer come later.
    pub fn delay(&self, delay: Duration) {
        self.plan.lock().unwrap().delay = delay;
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> u32 {
        self.plan.lock().unwrap().cuts
    }
}

/// What is left to do on a connection: nothing, or this at its next answer.
type Pending = Arc<Mutex<Option<Moment>>>;

fn carry(client: TcpStream, server: UnixStream, plan: &Arc<Mutex<Plan>>) {
    client.set_nodelay(true).unwrap();
    let pending: Pending = Arc::default();
    let there = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (plan_there, pending_there) = (Arc::clone(plan), Arc::clone(&pending));
    thread::spawn(move || requests(there.0, there.1, &plan_there, &pending_there));
    let plan = Arc::clone(plan);
    thread::spawn(move || answers(client, server, &plan, &pending));
}

fn requests(mut from: TcpStream, mut to: UnixStream, plan: &Mutex<Plan>, pending: &Pending) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..count];
        let holds = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
        let held = plan.lock().unwrap().hold.take_if(|(mark, _, _)| holds(mark));
        if let Some((_, tell, wait)) = held {
            tell.send(()).unwrap();
            let _ = wait.recv();
        }
        let moment = {
            let mut plan = plan.lock().unwrap();
            let moment = plan.cut.take_if(|(mark, _)| holds(mark)).map(|(_, moment)| moment);
            plan.cuts += u32::from(moment.is_some());
            moment
        };
        match moment {
            Some(Moment::BeforeTheRequest) => break,
            Some(Moment::WithinTheRequest) => {
                let _ = to.write_all(&bytes[..count / 2]);
                break;
            }
            later @ Some(_) => *pending.lock().unwrap() = later,
            None => {}
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn answers(mut to: TcpStream, mut from: UnixStream, plan: &Mutex<Plan>, pending: &Pending) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let delay = plan.lock().unwrap().delay;
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        match *pending.lock().unwrap() {
            None if to.write_all(&buffer[..count]).is_err() => break,
            None => {}
            Some(Moment::WithinTheAnswer) => {
                let _ = to.write_all(&buffer[..count / 2]);
                break;
            }
            Some(Moment::AfterTheAnswer) => {
                let ends = buffer[..count].ends_with(READY);
                plan.lock().unwrap().refusals += u32::from(ends);
                if to.write_all(&buffer[..count]).is_err() || ends {
                    break;
                }
            }
            Some(Moment::Never) => {}
            Some(_) => break,
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
