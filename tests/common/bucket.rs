//! A server of objects, and a proxy before it that counts requests, lets them wait and makes some fail.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// The server answers.
    Answered,
    /// An answer of this status, which the server never sees.
    Status(u16),
    /// The server's answer up to its middle.
    Cut,
    /// None for so long.
    Silence(Duration),
}

/// Decides by the number of the request and its line.
type Rule = Box<dyn FnMut(usize, &str) -> Fate + Send>;

/// What the proxy does, and has seen.
struct Desk {
    delay: Duration,
    rule: Rule,
    seen: Vec<String>,
}

/// The server, with a bucket `lab`, and the proxy.
pub(crate) struct Bucket {
    server: Child,
    server_port: u16,
    pub(crate) port: u16,
    desk: Arc<Mutex<Desk>>,
}

impl Bucket {
    /// Starts both; `None`, said aloud, where there is no Python with the server.
    pub(crate) fn start() -> Option<Self> {
        let python = super::interpreter()?;
        let has_server = Command::new(&python).args(["-c", "import moto.server"]).stderr(Stdio::null()).status();
        if !has_server.is_ok_and(|status| status.success()) {
            super::skipped(format_args!("no Python with moto, of tests/requirements.txt"));
            return None;
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let server_port = free.local_addr().unwrap().port();
        drop(free);
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &server_port.to_string()]);
        let server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (delay, seen, rule) = (Duration::ZERO, Vec::new(), Box::new(|_, _: &str| Fate::Answered) as Rule);
        let desk = Arc::new(Mutex::new(Desk { delay, rule, seen }));
        let shared = Arc::clone(&desk);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let desk = Arc::clone(&shared);
                // A client that goes away is no failure of the proxy.
                std::thread::spawn(move || serve(client, server_port, &desk));
            }
        });
        let bucket = Self { server, server_port, port, desk };
        assert!(super::probe::wait_until(|| TcpStream::connect(("127.0.0.1", server_port)).is_ok()));
        bucket.python(&["make"]);
        Some(bucket)
    }

    /// Lets every request wait, and decides what becomes of each; forgets those seen.
    pub(crate) fn rule(&self, delay: Duration, rule: impl FnMut(usize, &str) -> Fate + Send + 'static) {
        *self.desk.lock().unwrap() = Desk { delay, rule: Box::new(rule), seen: Vec::new() };
    }

    /// No rule, and nothing seen.
    pub(crate) fn calm(&self) {
        self.rule(Duration::ZERO, |_, _| Fate::Answered);
    }

    /// Method and target of the requests since the last rule, in the order in which they came.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.desk.lock().unwrap().seen.clone()
    }

    /// Runs `remote.py` against the server itself.
    pub(crate) fn python(&self, arguments: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/remote.py");
        let mut command = Command::new(super::interpreter().unwrap());
        command.arg(script).arg(format!("http://127.0.0.1:{}", self.server_port)).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Settings of a program that is to ask the proxy.
    pub(crate) fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ALLOW_HTTP", "true".into()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ACCESS_KEY_ID", "someone".into()),
            ("AWS_SECRET_ACCESS_KEY", "secret".into()),
        ]
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // One that has ended cannot be stopped.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Head and body of one message; an answer without a length ends with its connection.
fn message(from: &mut impl BufRead, is_answer: bool, is_empty: bool) -> std::io::Result<(String, Vec<u8>)> {
    let mut head = String::new();
    while from.read_line(&mut head)? > 2 && !head.ends_with("\r\n\r\n") {}
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = Vec::new();
    match length {
        _ if is_empty => {}
        Some(n) => {
            body.resize(n, 0);
            from.read_exact(&mut body)?;
        }
        None if is_answer => drop(from.read_to_end(&mut body)?),
        None => {}
    }
    Ok((head, body))
}

fn serve(mut client: TcpStream, port: u16, desk: &Mutex<Desk>) -> std::io::Result<()> {
    let (head, body) = message(&mut BufReader::new(client.try_clone()?), false, false)?;
    let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let (delay, fate) = {
        let mut desk = desk.lock().unwrap();
        let number = desk.seen.len();
        desk.seen.push(line.clone());
        let fate = (desk.rule)(number, &line);
        (desk.delay, fate)
    };
    std::thread::sleep(delay);
    match fate {
        Fate::Status(status) => {
            return write!(client, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        Fate::Silence(time) => {
            std::thread::sleep(time);
            return Ok(());
        }
        Fate::Answered | Fate::Cut => {}
    }
    let once = |head: &str| {
        let kept = head.trim_end().lines().filter(|line| !line.to_lowercase().starts_with("connection:"));
        kept.map(|line| format!("{line}\r\n")).collect::<String>() + "Connection: close\r\n\r\n"
    };
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    // Who asks as a browser does is let in.
    let is_signed = head.to_lowercase().contains("authorization:");
    let head = if is_signed { head } else { format!("{}\r\nAuthorization: AWS some:one\r\n\r\n", head.trim_end()) };
    server.write_all(once(&head).as_bytes())?;
    server.write_all(&body)?;
    let (head, body) = message(&mut BufReader::new(server), true, line.starts_with("HEAD"))?;
    client.write_all(once(&head).as_bytes())?;
    let end = if matches!(fate, Fate::Cut) { body.len() / 2 } else { body.len() };
    client.write_all(&body[..end])
}
