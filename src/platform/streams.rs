//! Standard input, output and error, and prompts for secrets.

use std::io::{self, BufRead, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

/// Standard input.
pub struct Input {
    /// The bytes.
    pub reader: Box<dyn BufRead + Send>,
    /// Whether a person types them.
    pub is_terminal: bool,
}

/// Standard output or standard error. Unbuffered: who writes decides when.
pub struct Output {
    /// Where bytes go.
    pub writer: Box<dyn Write + Send>,
    /// Whether a person reads them.
    pub is_terminal: bool,
    /// Columns and rows of the terminal, as they were at the start.
    pub size: Option<(usize, usize)>,
}

impl Output {
    /// A second writer to the same place. What one of the two writes in one call stays in
    /// one piece.
    pub fn share(&mut self) -> Box<dyn Write + Send> {
        let writer = std::mem::replace(&mut self.writer, Box::new(io::sink()));
        let shared = Shared(Arc::new(Mutex::new(writer)));
        self.writer = Box::new(Shared(Arc::clone(&shared.0)));
        Box::new(shared)
    }
}

struct Shared(Arc<Mutex<Box<dyn Write + Send>>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lock().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

/// Asks for a secret without showing it.
pub trait Secrets {
    /// Prompts on the terminal itself, whatever stdin is. A signal ends it with the
    /// [`Signal`](super::signals::Signal) as the error; any other error means that there is no
    /// terminal.
    fn ask(&self, prompt: &str) -> io::Result<Zeroizing<String>>;
}

#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(super) fn real_stdin() -> Input {
    let stdin = io::stdin();
    let is_terminal = io::IsTerminal::is_terminal(&stdin);
    Input {
        reader: Box::new(io::BufReader::new(stdin)),
        is_terminal,
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(super) fn real_stdout() -> Output {
    let stdout = io::stdout();
    let is_terminal = io::IsTerminal::is_terminal(&stdout);
    let size = if is_terminal {
        size_of(terminal_size::terminal_size_of(&stdout))
    } else {
        None
    };
    Output {
        writer: Box::new(Unbuffered(stdout)),
        is_terminal,
        size,
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(super) fn real_stderr() -> Output {
    let stderr = io::stderr();
    let is_terminal = io::IsTerminal::is_terminal(&stderr);
    let size = if is_terminal {
        size_of(terminal_size::terminal_size_of(&stderr))
    } else {
        None
    };
    Output {
        writer: Box::new(stderr),
        is_terminal,
        size,
    }
}

fn size_of(size: Option<(terminal_size::Width, terminal_size::Height)>) -> Option<(usize, usize)> {
    size.map(|(width, height)| (usize::from(width.0), usize::from(height.0)))
}

/// Standard output without the line buffering of the standard library, which would
/// split one piece of a reply into several writes and hold back the last line.
struct Unbuffered(io::Stdout);

impl Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A line writer passes a long write through and buffers a short tail; flushing
        // right away means that nothing shown is ever only in this buffer.
        let mut lock = self.0.lock();
        let written = lock.write(bytes)?;
        lock.flush()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
