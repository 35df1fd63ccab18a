//! A web server on the loopback, which remembers what was asked of it.

use crate::common::wait_for_within;
use crate::stage::PATIENCE;
use libtest_mimic::Failed;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A path with the page that is there.
pub(crate) type Page = (&'static str, String);

/// Serves pages until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    pages: Vec<Page>,
    asked: Mutex<Vec<String>>,
    ends: AtomicBool,
}

impl Server {
    /// Starts to serve these pages.
    pub(crate) fn start(pages: Vec<Page>) -> Result<Self, Failed> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { pages, asked: Mutex::default(), ends: AtomicBool::new(false) });
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if own.ends.load(Ordering::Relaxed) {
                    break;
                }
                // Browsers also open connections that they may need later, and say nothing there.
                let shared = Arc::clone(&own);
                std::thread::spawn(move || shared.answer(stream));
            }
        });
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// The address of a page.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Whether a page was asked for.
    pub(crate) fn was_asked(&self, path: &str) -> bool {
        self.shared.asked().iter().any(|asked| asked == path)
    }

    /// Waits until a page was asked for.
    pub(crate) fn wait_until_asked(&self, path: &str) -> Result<(), Failed> {
        wait_for_within(PATIENCE, &format!("a browser to ask for {path}"), || {
            self.was_asked(path).then_some(())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        // So that it notices.
        if TcpStream::connect(self.address).is_ok() {
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}

impl Shared {
    fn asked(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one request. What goes wrong, goes wrong for the browser, too.
    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
        let request = lines.next()?.ok()?;
        while !lines.next()?.ok()?.is_empty() {}
        let path = request.split(' ').nth(1)?;
        self.asked().push(path.to_owned());
        let page = self.pages.iter().find(|(known, _)| *known == path);
        let (status, kind, body) = match page {
            Some((path, body)) if path.ends_with(".bin") => {
                ("200 OK", "application/octet-stream", body.as_str())
            }
            Some((_, body)) => ("200 OK", "text/html; charset=utf-8", body.as_str()),
            None => ("404 Not Found", "text/plain", ""),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body.as_bytes()).ok()
    }
}
