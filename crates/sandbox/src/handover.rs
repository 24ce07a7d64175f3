//! How listeners come out of the child's network: as descriptors, with the first message on a socket,
//! which has a kind of its own and no payload.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::event::HEADER;

/// How many listeners a child can have.
pub(crate) const MOST: usize = 64;

const MESSAGE: [u8; HEADER] = [6, 0, 0, 0, 0];

/// What came first on a socket.
pub(crate) enum First {
    /// The listeners.
    Listeners(Vec<OwnedFd>),
    /// The beginning of an event; these are its first bytes.
    Event(Vec<u8>),
}

/// Hands listeners over.
pub(crate) fn send(socket: &UnixStream, listeners: &[impl AsFd]) -> io::Result<()> {
    let held: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&held)) {
        return Err(io::Error::other(format!("more than {MOST} addresses to listen on")));
    }
    sendmsg(socket, &[IoSlice::new(&MESSAGE)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes the first message; not a byte more than its head is read.
pub(crate) fn receive(socket: &UnixStream) -> io::Result<First> {
    let mut head = Vec::with_capacity(HEADER);
    let mut listeners = Vec::new();
    while head.len() < HEADER {
        let mut bytes = [0; HEADER];
        let room = bytes.get_mut(head.len()..).unwrap_or_default();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let read = match recvmsg(socket, &mut [IoSliceMut::new(room)], &mut control, flags) {
            Ok(read) => read.bytes,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(held) = message {
                listeners.extend(held);
            }
        }
        if read == 0 {
            break;
        }
        let from = head.len();
        head.extend_from_slice(bytes.get(from..from + read).unwrap_or_default());
    }
    if head == MESSAGE { Ok(First::Listeners(listeners)) } else { Ok(First::Event(head)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_arrives_before_any_event() {
        let (here, there) = UnixStream::pair().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        send(&here, &[&listener, &listener]).unwrap();
        io::Write::write_all(&mut &here, &[1, 0, 0, 0, 0]).unwrap();
        match receive(&there).unwrap() {
            First::Listeners(held) => assert_eq!(held.len(), 2),
            First::Event(_) => panic!("no listeners"),
        }
        // The event that follows is whole.
        match receive(&there).unwrap() {
            First::Event(bytes) => assert_eq!(bytes, [1, 0, 0, 0, 0]),
            First::Listeners(_) => panic!("listeners twice"),
        }
        drop(here);
        assert!(matches!(receive(&there).unwrap(), First::Event(bytes) if bytes.is_empty()));
    }
}
