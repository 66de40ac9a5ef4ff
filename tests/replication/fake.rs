//! The ends of a replication link, played by the test: a primary that answers PSYNC with whatever the test wants, and a replica that
//! only takes a snapshot.

use crate::common::Conn;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// The ID of every history that is made up here.
pub const ID: &str = "0123456789abcdef0123456789abcdef01234567";

/// What follows a PSYNC.
pub struct Answer {
    pub bytes: Vec<u8>,
    /// Whether the fake primary hangs up when all is sent, or lets the replica do it.
    pub hang_up: bool,
}

/// Called with the ID and the offset that a replica asks for.
type Script = dyn FnMut(&str, i64) -> Answer + Send;

pub struct FakePrimary {
    pub port: u16,
    stopping: Arc<AtomicBool>,
    /// Links that have ended, whoever ended them.
    ended: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl FakePrimary {
    pub fn start(script: impl FnMut(&str, i64) -> Answer + Send + 'static) -> FakePrimary {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port for the fake primary");
        listener.set_nonblocking(true).expect("a listener that can be polled");
        let port = listener.local_addr().expect("a bound listener").port();
        let (stopping, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count) = (Arc::clone(&stopping), Arc::clone(&ended));
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(script));
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => serve(stream, &script, &stop, &count),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::sleep(POLL),
                    Err(e) => panic!("accepting as a fake primary: {e}"),
                }
            }
        });
        FakePrimary { port, stopping, ended, thread: Some(thread) }
    }

    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }
}

impl Drop for FakePrimary {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the fake primary has panicked");
        }
    }
}

fn serve(stream: TcpStream, script: &Arc<Mutex<Script>>, stop: &Arc<AtomicBool>, ended: &Arc<AtomicU64>) {
    let (script, stop, ended) = (Arc::clone(script), Arc::clone(stop), Arc::clone(ended));
    std::thread::spawn(move || {
        // A link that breaks is what these tests are about.
        drop(link(stream, &script, &stop));
        ended.fetch_add(1, Ordering::SeqCst);
    });
}

/// Answers the handshake until PSYNC, then as the script says; ends when either side hangs up.
fn link(stream: TcpStream, script: &Mutex<Script>, stop: &AtomicBool) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut conn = Conn::over(stream)?;
    loop {
        let words = conn.read()?.items();
        match words[0].text().to_ascii_uppercase().as_str() {
            "PING" => conn.send_raw(b"+PONG\r\n")?,
            "PSYNC" => {
                let offset = words[2].text().parse().unwrap_or(i64::MIN);
                let answer = (script.lock().unwrap_or_else(|e| e.into_inner()))(&words[1].text(), offset);
                conn.send_raw(&answer.bytes)?;
                if answer.hang_up {
                    return Ok(());
                }
                break;
            }
            _ => conn.send_raw(b"+OK\r\n")?,
        }
    }
    // Acknowledgements, until the replica has enough.
    conn.set_timeout(Duration::from_millis(20));
    while !stop.load(Ordering::SeqCst) {
        match conn.skip() {
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// How a snapshot is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Length,
    EofMark,
}

/// A full resync's answer: this snapshot at this offset, then some of the stream. Behind an end mark a primary sends none before the
/// replica has acknowledged the snapshot, for its reader may have read too far.
pub fn full_resync(offset: i64, form: Form, snapshot: &[u8], stream: &[u8]) -> Vec<u8> {
    const MARK: &str = "fedcba9876543210fedcba9876543210fedcba98";
    let mut bytes = format!("+FULLRESYNC {ID} {offset}\r\n").into_bytes();
    match form {
        Form::Length => bytes.extend_from_slice(format!("${}\r\n", snapshot.len()).as_bytes()),
        Form::EofMark => bytes.extend_from_slice(format!("$EOF:{MARK}\r\n").as_bytes()),
    }
    bytes.extend_from_slice(snapshot);
    if form == Form::EofMark {
        bytes.extend_from_slice(MARK.as_bytes());
    }
    bytes.extend_from_slice(stream);
    bytes
}

/// The RDB that a node sends to a replica.
pub fn take_snapshot(port: u16) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"REPLCONF capa eof capa psync2\r\n")?;
    let mut reader = BufReader::new(stream.try_clone()?);
    // PSYNC is refused while a reply before it is still on its way.
    reader.read_line(&mut String::new())?;
    stream.write_all(b"PSYNC ? -1\r\n")?;
    let header = loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            // Bare line ends keep a replica from giving up while it waits.
            "" | "+OK" => {}
            said if said.starts_with("+FULLRESYNC") => {}
            said if said.starts_with('$') => break said[1..].to_owned(),
            said => return Err(io::Error::other(format!("PSYNC was answered with {said:?}"))),
        }
    };
    let mut snapshot = Vec::new();
    match header.strip_prefix("EOF:") {
        None => {
            let length: usize = header.parse().map_err(|_| io::Error::other(format!("a length of {header:?}")))?;
            snapshot.resize(length, 0);
            reader.read_exact(&mut snapshot)?;
        }
        Some(mark) => {
            let mut byte = [0];
            while !snapshot.ends_with(mark.as_bytes()) {
                reader.read_exact(&mut byte)?;
                snapshot.push(byte[0]);
            }
            snapshot.truncate(snapshot.len() - mark.len());
        }
    }
    Ok(snapshot)
}
