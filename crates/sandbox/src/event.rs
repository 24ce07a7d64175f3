//! What travels on the control socket after the spec: events to the parent, one command back.
//!
//! An event is a kind (1 byte), the payload's length (4 bytes, little-endian) and the payload. The
//! child never holds this socket, so that only the helper can speak on it.

/// The command that ends the whole tree: write it to the control socket. Closing or shutting down
/// the socket does the same.
pub const KILL: [u8; 1] = *b"K";

pub(crate) const HEADER: usize = 5;
const LONGEST_PAYLOAD: usize = 8 * 1024;

/// What the helper reports, in this order: [`Started`](Self::Started), then one of
/// [`Exited`](Self::Exited) and [`Signaled`](Self::Signaled), then [`Emptied`](Self::Emptied); or
/// [`ExecFailed`](Self::ExecFailed) alone. A socket that ends earlier means that the helper was
/// lost: what happened is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The program runs.
    Started,
    /// Nothing began: not one instruction of the program ran.
    ExecFailed {
        /// The system's error number (`errno(3)`).
        errno: i32,
        /// What went wrong and what to do next. Names the program or the directory, no secret.
        message: String,
    },
    /// The program ended by itself with this code, 0 to 255.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A signal ended the program.
    Signaled {
        /// The signal's number (`signal(7)`).
        signal: i32,
    },
    /// No process of the tree is left.
    Emptied,
}

/// The bytes on the control socket are not the helper's protocol.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the confinement helper sent a message of unknown kind {kind} and {length} bytes")]
pub struct ProtocolError {
    kind: u8,
    length: u32,
}

/// Turns the bytes of the control socket into events, however they are cut.
///
/// ```
/// use lar_sandbox::{Event, EventDecoder};
/// let mut decoder = EventDecoder::default();
/// decoder.push(&[3, 4, 0, 0, 0, 7, 0]);
/// assert_eq!(decoder.next_event(), Ok(None));
/// decoder.push(&[0, 0]);
/// assert_eq!(decoder.next_event(), Ok(Some(Event::Exited { code: 7 })));
/// ```
#[derive(Debug, Default)]
pub struct EventDecoder {
    pending: Vec<u8>,
}

impl EventDecoder {
    /// Adds bytes that were read from the control socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole event, or `None` until more bytes are pushed.
    ///
    /// # Errors
    /// [`ProtocolError`] when the bytes are no event; the stream can't be read any further.
    pub fn next_event(&mut self) -> Result<Option<Event>, ProtocolError> {
        let Some((&[kind, a, b, c, d], rest)) = self.pending.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([a, b, c, d]);
        let wrong = ProtocolError { kind, length };
        let size = match usize::try_from(length) {
            Ok(size) if size <= LONGEST_PAYLOAD => size,
            _ => return Err(wrong),
        };
        let Some((payload, _)) = rest.split_at_checked(size) else {
            return Ok(None);
        };
        let event = Event::decode(kind, payload).ok_or(wrong)?;
        self.pending.drain(..HEADER + size);
        Ok(Some(event))
    }
}

impl Event {
    /// The bytes that travel.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, payload) = match self {
            Self::Started => (1_u8, Vec::new()),
            Self::ExecFailed { errno, message } => {
                let mut payload = errno.to_le_bytes().to_vec();
                let most = LONGEST_PAYLOAD - payload.len();
                let text = message.as_bytes();
                payload.extend_from_slice(text.get(..most).unwrap_or(text));
                (2, payload)
            }
            Self::Exited { code } => (3, code.to_le_bytes().to_vec()),
            Self::Signaled { signal } => (4, signal.to_le_bytes().to_vec()),
            Self::Emptied => (5, Vec::new()),
        };
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&payload);
        bytes
    }

    fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        match (kind, payload) {
            (1, []) => Some(Self::Started),
            (2, [a, b, c, d, text @ ..]) => Some(Self::ExecFailed {
                errno: i32::from_le_bytes([*a, *b, *c, *d]),
                message: String::from_utf8_lossy(text).into_owned(),
            }),
            (3, &[a, b, c, d]) => Some(Self::Exited { code: i32::from_le_bytes([a, b, c, d]) }),
            (4, &[a, b, c, d]) => Some(Self::Signaled { signal: i32::from_le_bytes([a, b, c, d]) }),
            (5, []) => Some(Self::Emptied),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Started),
            Just(Event::Emptied),
            any::<i32>().prop_map(|code| Event::Exited { code }),
            any::<i32>().prop_map(|signal| Event::Signaled { signal }),
            (any::<i32>(), ".{0,80}")
                .prop_map(|(errno, message)| Event::ExecFailed { errno, message }),
        ]
    }

    proptest! {
        #[test]
        fn events_survive_any_cut(
            events in proptest::collection::vec(any_event(), 0..6), step in 1_usize..9,
        ) {
            let bytes: Vec<u8> = events.iter().flat_map(Event::encode).collect();
            let mut decoder = EventDecoder::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                while let Some(event) = decoder.next_event().unwrap() {
                    seen.push(event);
                }
            }
            prop_assert_eq!(seen, events);
        }

        #[test]
        fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut decoder = EventDecoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_event() {}
        }
    }

    #[test]
    fn a_huge_length_is_refused_before_it_is_awaited() {
        let mut decoder = EventDecoder::default();
        decoder.push(&[2, 255, 255, 255, 255]);
        assert!(decoder.next_event().is_err());
    }

    #[test]
    fn an_endless_message_is_cut() {
        let event = Event::ExecFailed { errno: 2, message: "é".repeat(LONGEST_PAYLOAD) };
        let mut decoder = EventDecoder::default();
        decoder.push(&event.encode());
        assert!(matches!(decoder.next_event(), Ok(Some(Event::ExecFailed { errno: 2, .. }))));
    }
}
