//! A chat-completions server that is never the bottleneck: what it says is rendered once,
//! before the first request.
//!
//! The first part of the path says how it answers: `/burst-20000/v1/chat/completions`.
//!
//! | path | answer |
//! |---|---|
//! | `short` | ten pieces, usage, the end |
//! | `burst-N` | N pieces as fast as the socket takes them |
//! | `stamp` | after 15 ms a piece with the time in it, 5 ms later the end |
//! | `stall` | three pieces, then nothing; prints the time when the client closes |
//!
//! Its port is the first line on its standard output.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Replies by name, rendered when first asked for.
type Replies = Arc<Mutex<HashMap<String, Arc<Vec<u8>>>>>;

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    say(&port.to_string());
    let replies = Replies::default();
    for stream in listener.incoming() {
        let replies = Arc::clone(&replies);
        thread::spawn(move || {
            // A client that goes away is none of the server's business.
            let _ = serve(stream.expect("a connection"), &replies);
        });
    }
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").expect("stdout is open");
    stdout.flush().expect("stdout is open");
}

fn now() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a time after 1970").as_nanos()
}

fn serve(stream: TcpStream, replies: &Replies) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 << 10, stream.try_clone()?);
    let mut stream = stream;
    while let Some(name) = request(&mut reader)? {
        match name.as_str() {
            "stamp" => {
                stream.write_all(HEAD.as_bytes())?;
                thread::sleep(Duration::from_millis(15));
                stream.write_all(&piece(&now().to_string()))?;
                thread::sleep(Duration::from_millis(5));
                stream.write_all(&end(1))?;
            }
            "stall" => {
                let mut bytes = HEAD.as_bytes().to_vec();
                bytes.extend((0..3).flat_map(|_| piece(" word")));
                stream.write_all(&bytes)?;
                let _ = reader.read(&mut [0]);
                say(&now().to_string());
                return Ok(());
            }
            _ => stream.write_all(&rendered(&name, replies))?,
        }
    }
    Ok(())
}

/// Reads a request, and the first part of its path.
fn request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let name = line.split('/').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    Ok(Some(name))
}

fn rendered(name: &str, replies: &Replies) -> Arc<Vec<u8>> {
    let mut replies = replies.lock().expect("no thread has panicked");
    let reply = replies.entry(name.to_owned()).or_insert_with(|| {
        let count: usize = match name.split_once('-') {
            Some((_, count)) => count.parse().expect("a number"),
            None => 10,
        };
        let mut bytes = HEAD.as_bytes().to_vec();
        for _ in 0..count {
            bytes.extend(piece(" word"));
        }
        bytes.extend(end(count));
        Arc::new(bytes)
    });
    Arc::clone(reply)
}

/// An event in a chunk of its own, as servers flush them.
fn chunk(json: &str) -> Vec<u8> {
    let event = format!("data: {json}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

fn piece(text: &str) -> Vec<u8> {
    chunk(&format!(
        r#"{{"id":"gen-1787000000-AbCdEfGhIjKlMnOp","object":"chat.completion.chunk","created":1787000000,"model":"bench/model","provider":"Bench","choices":[{{"index":0,"delta":{{"role":"assistant","content":"{text}"}},"finish_reason":null}}]}}"#
    ))
}

fn end(count: usize) -> Vec<u8> {
    let stop = r#"{"id":"gen-1787000000-AbCdEfGhIjKlMnOp","object":"chat.completion.chunk","created":1787000000,"model":"bench/model","provider":"Bench","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}]}"#;
    let usage = format!(
        r#"{{"id":"gen-1787000000-AbCdEfGhIjKlMnOp","choices":[],"usage":{{"prompt_tokens":9,"completion_tokens":{count},"total_tokens":{}}}}}"#,
        count + 9
    );
    let mut bytes = chunk(stop);
    bytes.extend(chunk(&usage));
    bytes.extend(chunk("[DONE]"));
    bytes.extend(b"0\r\n\r\n");
    bytes
}
