//! A server on loopback that does byte for byte what a test tells it to.
//!
//! It speaks just enough HTTP/1.1 to read a request. What it answers is a [`Script`]: a
//! status line, headers, and steps that send bytes, pause, wait for the test, or cut the
//! connection. So it can drip, stall, lie and break off where a real server never would
//! on demand.
//!
//! ```ignore
//! let server = FakeServer::answering([
//!     Script::json(503, r#"{"error":{"message":"busy"}}"#),
//!     Script::reply("Hello"),
//! ]);
//! // … run something against server.base_url() …
//! assert_eq!(server.requests().len(), 2);
//! assert_eq!(server.requests()[1].json()["stream"], true);
//! ```
//!
//! Every wait is bounded by [`PATIENCE`], so a broken test fails instead of hanging.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// The longest that the server, or a test, waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// 0 for the first request of all connections, and so on.
    pub number: usize,
    /// `GET`, `POST`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Which connection it came over, from 0: equal for requests that share one.
    pub connection: usize,
}

impl Request {
    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        let found = self.headers.iter().find(|(given, _)| *given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// Something that a test lets happen at a moment of its choosing.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everything pass that waits now or later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open; `false` if that takes too long.
    pub fn wait(&self) -> bool {
        let open = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open);
        *waited.unwrap().0
    }
}

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Transfer-Encoding: chunked`; each [`Step::Send`] is one chunk.
    Chunked,
    /// `Content-Length` with the length of everything that is sent, plus this: a body
    /// that is announced longer than it is will be short.
    Length(usize),
    /// By closing the connection.
    Close,
    /// No head at all: the steps send raw bytes instead of a response.
    Raw,
}

/// One thing that the server does.
#[derive(Clone)]
pub enum Step {
    /// Sends bytes at once.
    Send(Vec<u8>),
    /// Sends the bytes one by one, each in a segment of its own as far as TCP allows.
    Drip(Vec<u8>),
    /// Does nothing for a while.
    Pause(Duration),
    /// Waits for the test.
    Wait(Gate),
    /// Tells the test that it got here.
    Reach(Gate),
    /// Does what the test says, such as letting the test's clock jump.
    Do(Arc<dyn Fn() + Send + Sync>),
    /// Waits until the client closes the connection; see [`FakeServer::wait_for_hang_up`].
    HangUp,
    /// Ends the connection in the middle of the body.
    Cut,
    /// The same, with a reset.
    Reset,
}

/// An answer.
#[derive(Clone)]
pub struct Script {
    status: u16,
    headers: Vec<(String, String)>,
    framing: Framing,
    steps: Vec<Step>,
}

impl Script {
    /// An answer with this status and media type, and nothing in it yet.
    pub fn new(status: u16, media_type: &str) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".into(), media_type.into())],
            framing: Framing::Chunked,
            steps: Vec::new(),
        }
    }

    /// A JSON body.
    pub fn json(status: u16, body: &str) -> Self {
        Self::new(status, "application/json")
            .framing(Framing::Length(0))
            .send(body)
    }

    /// An empty event stream, to which steps are added.
    pub fn stream() -> Self {
        Self::new(200, "text/event-stream; charset=utf-8")
    }

    /// An event stream with one event for each of these.
    pub fn events<S: AsRef<str>>(events: impl IntoIterator<Item = S>) -> Self {
        events
            .into_iter()
            .fold(Self::stream(), |script, data| script.event(data.as_ref()))
    }

    /// A complete streamed reply of this text, as openrouter.ai sends it.
    pub fn reply(text: &str) -> Self {
        Self::stream()
            .send(": OPENROUTER PROCESSING\n\n")
            .event(&delta(text))
            .event(FINISHED)
            .event(USAGE)
            .event("[DONE]")
    }

    /// Not HTTP: the steps send every byte.
    pub fn raw() -> Self {
        Self::new(0, "").framing(Framing::Raw)
    }

    /// Another way to tell the end.
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// One more step.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Sends bytes.
    #[must_use]
    pub fn send(self, bytes: impl AsRef<[u8]>) -> Self {
        self.step(Step::Send(bytes.as_ref().to_vec()))
    }

    /// Sends one event.
    #[must_use]
    pub fn event(self, data: &str) -> Self {
        self.send(format!("data: {data}\n\n"))
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = match self.framing {
            Framing::Chunked => write!(head, "Transfer-Encoding: chunked\r\n"),
            Framing::Length(more) => {
                let sent: usize = self.steps.iter().map(Step::len).sum();
                write!(head, "Content-Length: {}\r\n", sent + more)
            }
            Framing::Close | Framing::Raw => write!(head, "Connection: close\r\n"),
        };
        head.push_str("\r\n");
        head
    }
}

impl Step {
    fn len(&self) -> usize {
        match self {
            Self::Send(bytes) | Self::Drip(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

/// A chunk that says why the model stopped.
pub const FINISHED: &str = r#"{"id":"gen-1","model":"test/model","provider":"Test","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop","native_finish_reason":"stop"}]}"#;

/// A chunk with token counts and a cost.
pub const USAGE: &str = r#"{"id":"gen-1","model":"test/model","provider":"Test","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":67,"completion_tokens":5,"total_tokens":72,"cost":0.00001305}}"#;

/// A chunk with a piece of text.
pub fn delta(text: &str) -> String {
    let text = serde_json::Value::from(text);
    format!(
        r#"{{"id":"gen-1","object":"chat.completion.chunk","model":"test/model","provider":"Test","choices":[{{"index":0,"delta":{{"role":"assistant","content":{text}}},"finish_reason":null}}]}}"#
    )
}

#[derive(Default)]
struct Log {
    requests: Mutex<Vec<Request>>,
    arrived: Condvar,
    hung_up: Mutex<usize>,
    hang_up: Condvar,
    connections: AtomicUsize,
}

/// The server. It lives as long as the test process.
pub struct FakeServer {
    address: SocketAddr,
    log: Arc<Log>,
}

impl FakeServer {
    /// Answers the first request with the first script and so on; the last one is
    /// repeated for all further requests.
    pub fn answering(scripts: impl IntoIterator<Item = Script>) -> Self {
        let scripts: Vec<Script> = scripts.into_iter().collect();
        Self::deciding(move |request| scripts[request.number.min(scripts.len() - 1)].clone())
    }

    /// Answers each request as `decide` says.
    pub fn deciding(decide: impl Fn(&Request) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound listener has one");
        let log = Arc::new(Log::default());
        let decide = Arc::new(decide);
        let shared = Arc::clone(&log);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, decide) = (Arc::clone(&shared), Arc::clone(&decide));
                thread::spawn(move || {
                    // A client that goes away is what many tests want to see.
                    let _ = serve(&stream, &log, decide.as_ref());
                });
            }
        });
        Self { address, log }
    }

    /// A port on loopback where nobody listens.
    pub fn nobody() -> String {
        // Bound, but not listening, and kept: the system gives the port neither to a server
        // nor to a client. (A client may get the port of another client, then connects to
        // itself, and reads what it has sent.)
        use socket2::{Domain, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("TCP is there");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).expect("loopback has free ports");
        let address = socket.local_addr().expect("a bound socket has one");
        let address = address.as_socket().expect("of the Internet");
        std::mem::forget(socket);
        format!("http://{address}/v1")
    }

    /// Where it is, with `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.log.requests.lock().unwrap().clone()
    }

    /// Waits until so many requests have arrived; `false` if that takes too long.
    pub fn wait_for_requests(&self, count: usize) -> bool {
        let requests = self.log.requests.lock().unwrap();
        let waited = self
            .log
            .arrived
            .wait_timeout_while(requests, PATIENCE, |requests| requests.len() < count);
        waited.unwrap().0.len() >= count
    }

    /// Waits until a client hung up on a [`Step::HangUp`]; `false` after `limit`.
    pub fn wait_for_hang_up(&self, limit: Duration) -> bool {
        let hung_up = self.log.hung_up.lock().unwrap();
        let waited = self
            .log
            .hang_up
            .wait_timeout_while(hung_up, limit, |count| *count == 0);
        *waited.unwrap().0 > 0
    }
}

fn serve(
    stream: &TcpStream,
    log: &Log,
    decide: &(dyn Fn(&Request) -> Script + Send + Sync),
) -> io::Result<()> {
    let connection = log.connections.fetch_add(1, Ordering::SeqCst);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::with_capacity(1, stream);
    loop {
        let Some(mut request) = read_request(&mut reader)? else {
            return Ok(());
        };
        request.connection = connection;
        {
            let mut requests = log.requests.lock().unwrap();
            request.number = requests.len();
            requests.push(request.clone());
            log.arrived.notify_all();
        }
        let script = decide(&request);
        let resets = script.steps.iter().any(|step| matches!(step, Step::Reset));
        if !request.body.is_empty() && !resets {
            // The last byte was only looked at. Left unread, it turns the end of the
            // connection into a reset.
            reader.read_exact(&mut [0])?;
        }
        if !play(&script, stream, log)? {
            return Ok(());
        }
    }
}

/// Reads a request; the last byte of its body stays in the socket.
fn read_request(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next(), words.next());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0usize);
    let mut body = vec![0; length];
    if let Some(last) = length.checked_sub(1) {
        // The buffer of one byte is empty here, so this goes straight to the socket.
        reader.read_exact(&mut body[..last])?;
        reader.get_ref().peek(&mut body[last..])?;
    }
    Ok(Some(Request {
        number: 0,
        method: method.unwrap_or_default(),
        path: path.unwrap_or_default(),
        headers,
        body,
        connection: 0,
    }))
}

/// Plays a script; `false` if the connection is over.
fn play(script: &Script, mut stream: &TcpStream, log: &Log) -> io::Result<bool> {
    let chunked = script.framing == Framing::Chunked;
    if script.framing != Framing::Raw {
        stream.write_all(script.head().as_bytes())?;
    }
    let send = |mut stream: &TcpStream, bytes: &[u8]| {
        if chunked {
            let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
            chunk.extend_from_slice(bytes);
            chunk.extend_from_slice(b"\r\n");
            stream.write_all(&chunk)
        } else {
            stream.write_all(bytes)
        }
    };
    for step in &script.steps {
        match step {
            // An empty chunk would be the end of the body.
            Step::Send(bytes) if bytes.is_empty() => {}
            Step::Send(bytes) => send(stream, bytes)?,
            Step::Drip(bytes) => {
                for byte in bytes {
                    send(stream, &[*byte])?;
                }
            }
            Step::Pause(time) => thread::sleep(*time),
            Step::Wait(gate) => {
                gate.wait();
            }
            Step::Reach(gate) => gate.open(),
            Step::Do(act) => act(),
            Step::HangUp => {
                // A client that is content sends nothing more; one that goes away ends the
                // stream or resets it.
                if matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)) {
                    *log.hung_up.lock().unwrap() += 1;
                    log.hang_up.notify_all();
                }
                return Ok(false);
            }
            Step::Cut | Step::Reset => return Ok(false),
        }
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n")?;
    }
    Ok(!matches!(
        script.framing,
        Framing::Close | Framing::Raw | Framing::Length(1..)
    ))
}
