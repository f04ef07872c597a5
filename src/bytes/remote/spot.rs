//! Objects of S3, Google and Azure stores, and files of web servers, by their URLs: requests, many at once, and what
//! went wrong with one in words that lead out.
//!
//! Settings and credentials are those of the crate `object_store`, from the environment (`AWS_REGION`,
//! `AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME` ...).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{ClientConfigKey, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, WriteMultipart};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// Requests that are under way at once.
const MOST_REQUESTS: usize = 64;
/// Bytes of one part of an object that is sent in parts, and parts on their way at once.
const PART_BYTES: usize = 5 << 20;
const MOST_PARTS: usize = 3;

/// Why a request came to nothing.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    kind: ErrorKind,
    text: String,
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind, failure.text)
    }
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) n_bytes: u64,
    /// What sets this version apart, where the server says.
    pub(super) tag: Option<String>,
    pub(super) changed: u64,
}

impl Known {
    fn of(meta: &ObjectMeta) -> Self {
        // A weak tag is nothing to insist on.
        let tag = meta.e_tag.clone().filter(|tag| !tag.starts_with("W/"));
        Self { n_bytes: meta.size, tag, changed: meta.last_modified.timestamp().max(0) as u64 }
    }

    /// Size, time and version.
    pub(super) fn words(&self) -> String {
        let tag = self.tag.as_deref().unwrap_or("unknown");
        format!("{} bytes, changed {}, version {tag}", self.n_bytes, self.changed)
    }
}

static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    // Whoever came first has set it as well as we would.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("remote").enable_all().build()
});
static STORES: LazyLock<Mutex<HashMap<String, Arc<dyn ObjectStore>>>> = LazyLock::new(Mutex::default);
static REQUESTS: Semaphore = Semaphore::const_new(MOST_REQUESTS);
/// MiB that may be on their way out.
static SENDING: Semaphore = Semaphore::const_new((crate::bytes::SENT_BYTES >> 20) as usize);

fn runtime() -> io::Result<&'static Runtime> {
    RUNTIME.as_ref().map_err(|e| io::Error::new(e.kind(), e.to_string()))
}

/// Starts `work` beside everything else.
pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    runtime()?.spawn(work);
    Ok(())
}

/// Does `work`, a request, and waits for it.
fn wait<T: Send + 'static>(
    spot: &Spot,
    work: impl Future<Output = object_store::Result<T>> + Send + 'static,
) -> io::Result<T> {
    let answer = waited(async move {
        let _permit = REQUESTS.acquire().await;
        work.await
    })?;
    answer.map_err(|e| spot.failure(&e).into())
}

/// Does `work` and waits for it.
fn waited<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
    let (send, receive) = mpsc::sync_channel(1);
    spawn(async move {
        let _ = send.send(work.await);
    })?;
    receive.recv().map_err(io::Error::other)
}

/// Where an object is, or what begins like it.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    store: Arc<dyn ObjectStore>,
    key: Key,
    scheme: &'static str,
}

/// Schemes of URLs, and how settings of their stores begin in the environment.
const SCHEMES: [(&str, &str); 6] =
    [("s3", "aws_"), ("gs", "google_"), ("az", "azure_"), ("abfs", "azure_"), ("http", ""), ("https", "")];

/// Scheme, server or bucket, and key of a URL that leads to a place of objects.
pub(super) fn parts(path: &Path) -> Option<(&'static str, &str, &str)> {
    // This is asked of every path, many times.
    if !path.as_os_str().as_encoded_bytes().contains(&b':') {
        return None;
    }
    let (scheme, rest) = path.to_str()?.split_once("://")?;
    let (scheme, _) = SCHEMES.iter().find(|(known, _)| *known == scheme)?;
    let (server, key) = rest.split_once('/').unwrap_or((rest, ""));
    Some((scheme, server, key.trim_end_matches('/')))
}

impl Spot {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let invalid = |text: String| io::Error::new(ErrorKind::InvalidInput, text);
        let (scheme, server, key) = parts(path).ok_or_else(|| invalid("is no URL of an object".into()))?;
        if server.is_empty() {
            return Err(invalid(format!("names no {}", if is_web(scheme) { "server" } else { "bucket" })));
        }
        if is_web(scheme) && key.contains(['?', '#']) {
            return Err(invalid("URLs with a query are not read: download the file first".into()));
        }
        let key = if is_web(scheme) { Key::from_url_path(key) } else { Key::parse(key) };
        let key = key.map_err(|e| invalid(e.to_string()))?;
        let name = format!("{scheme}://{server}");
        let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
        let store = match stores.get(&name) {
            Some(store) => Arc::clone(store),
            None => {
                // Clients want threads of the runtime from the beginning.
                let _inside = runtime()?.enter();
                let store = connect(scheme, &name).map_err(|e| invalid(words(&e)))?;
                Arc::clone(stores.entry(name).or_insert(store))
            }
        };
        Ok(Self { store, key, scheme })
    }

    /// Fetches the object, or a part of it of one version. Gives what is known of it, and where the bytes begin.
    pub(super) async fn fetch(
        &self,
        range: Option<GetRange>,
        if_match: Option<String>,
    ) -> Result<(Vec<u8>, Known, u64), Failure> {
        let _permit = REQUESTS.acquire().await;
        let options = GetOptions { range, if_match, ..GetOptions::default() };
        let fetched = async {
            let answer = self.store.get_opts(&self.key, options).await?;
            let (known, range) = (Known::of(&answer.meta), answer.range.clone());
            Ok((Vec::from(answer.bytes().await?), known, range))
        };
        let (bytes, known, range) = fetched.await.map_err(|e| self.failure(&e))?;
        if bytes.len() as u64 != range.end - range.start {
            let text = format!("the answer broke off after {} of {} bytes", bytes.len(), range.end - range.start);
            return Err(Failure { kind: ErrorKind::UnexpectedEof, text });
        }
        Ok((bytes, known, range.start))
    }

    /// What there is of an object, without its bytes.
    pub(super) fn head(&self) -> io::Result<Known> {
        let Self { store, key, .. } = self.clone();
        wait(self, async move { store.head(&key).await.map(|meta| Known::of(&meta)) })
    }

    fn refuse_listing(&self) -> io::Result<()> {
        if !is_web(self.scheme) {
            return Ok(());
        }
        Err(io::Error::new(
            ErrorKind::Unsupported,
            "web servers do not list what they hold: name every file or array, or give a list with --files-from",
        ))
    }

    /// Up to `most` objects below this place, by their keys from here on, and whether these are all.
    pub(super) fn below(&self, most: usize) -> io::Result<(Vec<(String, Known)>, bool)> {
        self.refuse_listing()?;
        let Self { store, key, .. } = self.clone();
        let from = if key.as_ref().is_empty() { 0 } else { key.as_ref().len() + 1 };
        let listed: Vec<ObjectMeta> =
            wait(self, async move { store.list(Some(&key)).take(most.saturating_add(1)).try_collect().await })?;
        let is_whole = listed.len() <= most;
        let named = |meta: ObjectMeta| Some((meta.location.as_ref().get(from..)?.to_owned(), Known::of(&meta)));
        Ok((listed.into_iter().take(most).filter_map(named).collect(), is_whole))
    }

    /// Names directly below this place, and whether each leads further.
    pub(super) fn entries(&self) -> io::Result<Vec<(String, bool)>> {
        self.refuse_listing()?;
        let Self { store, key, .. } = self.clone();
        let listed = wait(self, async move { store.list_with_delimiter(Some(&key)).await })?;
        let name = |key: &Key| key.filename().unwrap_or_default().to_owned();
        let folders = listed.common_prefixes.iter().map(|key| (name(key), true));
        Ok(folders.chain(listed.objects.iter().map(|meta| (name(&meta.location), false))).collect())
    }

    /// Puts the bytes of `file` there, in parts if they are many; they are seen when all are there.
    pub(super) fn send(&self, file: &mut File) -> io::Result<()> {
        if is_web(self.scheme) {
            let text = "web servers take no outputs: write to s3://, gs:// or az://";
            return Err(io::Error::new(ErrorKind::Unsupported, text));
        }
        let Self { store, key, .. } = self.clone();
        let n_bytes = file.metadata()?.len();
        let most_held = n_bytes.min(((MOST_PARTS + 1) * PART_BYTES) as u64);
        let _held = waited(async move { SENDING.acquire_many(most_held.div_ceil(1 << 20).max(1) as u32).await })?;
        let mut part = vec![0; PART_BYTES.min(n_bytes as usize)];
        file.read_exact(&mut part)?;
        if n_bytes <= PART_BYTES as u64 {
            return wait(self, async move { store.put(&key, part.into()).await.map(drop) });
        }
        let upload = wait(self, async move { store.put_multipart(&key).await })?;
        let mut writing = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut left = n_bytes;
        loop {
            left -= part.len() as u64;
            let sent = std::mem::take(&mut part);
            writing = wait(self, async move {
                match writing.wait_for_capacity(MOST_PARTS).await {
                    Ok(()) => writing.write(&sent),
                    Err(e) => {
                        let _ = writing.abort().await;
                        return Err(e);
                    }
                }
                Ok(writing)
            })?;
            if left == 0 {
                break wait(self, async move { writing.finish().await.map(drop) });
            }
            part.resize(PART_BYTES.min(left as usize), 0);
            file.read_exact(&mut part)?;
        }
    }

    /// Removes the objects with these `keys` from here on; what is not there is fine.
    pub(super) fn remove(&self, keys: Vec<String>) -> io::Result<()> {
        let store = Arc::clone(&self.store);
        let keys: Vec<object_store::Result<Key>> = keys.into_iter().map(|key| Ok(self.join(&key))).collect();
        wait(self, async move {
            let mut removed = store.delete_stream(futures_util::stream::iter(keys).boxed());
            while let Some(one) = removed.next().await {
                match one {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        })
    }

    fn join(&self, key: &str) -> Key {
        key.split('/').fold(self.key.clone(), |whole, part| whole.join(part))
    }

    /// What went wrong, and the way out.
    fn failure(&self, e: &object_store::Error) -> Failure {
        use object_store::Error as E;
        let text = words(e);
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let lines = |kind, text: &str| Failure { kind, text: text.to_owned() };
        let way = match self.scheme {
            "s3" => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket",
            "gs" => "GOOGLE_SERVICE_ACCOUNT, or GOOGLE_SKIP_SIGNATURE=true for a public bucket",
            "az" | "abfs" => "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
            _ => "",
        };
        let set = if way.is_empty() { String::new() } else { format!(": set {way}") };
        match e {
            _ if has(&["ContainerNotFound"]) => lines(ErrorKind::NotFound, "there is no such container"),
            _ if has(&["NoSuchBucket", "no bucket named"]) => lines(ErrorKind::NotFound, "there is no such bucket"),
            E::NotFound { .. } => lines(ErrorKind::NotFound, "there is no such object (404)"),
            E::PermissionDenied { .. } => {
                lines(ErrorKind::PermissionDenied, &format!("the server refuses access (403){set}"))
            }
            E::Unauthenticated { .. } => {
                lines(ErrorKind::PermissionDenied, &format!("the server wants to know who asks (401){set}"))
            }
            E::Precondition { .. } => lines(
                ErrorKind::InvalidData,
                "has changed since it was first looked at: run it again with --restart when nothing writes to it any more",
            ),
            _ if has(&["169.254.169.254", "metadata.google.internal", "latest/meta-data"]) => {
                lines(ErrorKind::PermissionDenied, &format!("there are no credentials{set}"))
            }
            _ if has(&[
                "AuthorizationHeaderMalformed",
                "PermanentRedirect",
                "IllegalLocationConstraint",
                "configured region",
                "status code: 301",
            ]) =>
            {
                lines(ErrorKind::InvalidInput, &format!("the bucket is in another region: set AWS_REGION ({text})"))
            }
            _ if has(&["URL scheme is not allowed"]) => lines(
                ErrorKind::InvalidInput,
                "the server is asked over http, which is not encrypted: set AWS_ALLOW_HTTP=true if that is meant",
            ),
            _ if has(&["Received non-partial response"]) => {
                lines(ErrorKind::Unsupported, "the server does not give parts of a file: download it first")
            }
            _ if has(&["timed out", "TimedOut", "Timeout"]) => lines(
                ErrorKind::TimedOut,
                &format!("the server gave no answer in time: try again, or set AWS_TIMEOUT=300s ({text})"),
            ),
            _ if has(&["(Connect)"]) => {
                let why = text.rsplit(": ").next().unwrap_or_default();
                lines(ErrorKind::NotConnected, &format!("the server is not reached: {why}"))
            }
            _ => Failure { kind: ErrorKind::Other, text: format!("the request failed: {text}") },
        }
    }
}

fn is_web(scheme: &str) -> bool {
    scheme.starts_with("http")
}

/// An error with its causes, each said once, on one line.
fn words(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = e.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Opens the store that `name`, a URL without a key, is.
fn connect(scheme: &str, name: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    let prefix = SCHEMES.iter().find(|(known, _)| *known == scheme).map_or("", |(_, prefix)| prefix);
    let retry = object_store::RetryConfig {
        max_retries: 8,
        retry_timeout: Duration::from_secs(90),
        ..object_store::RetryConfig::default()
    };
    let settings = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?.to_lowercase();
        Some((name, value.into_string().ok()?)).filter(|(name, _)| name.starts_with(prefix))
    });
    macro_rules! store {
        ($builder:ty) => {{
            let mut builder = <$builder>::new().with_url(name).with_retry(retry);
            for (name, value) in settings {
                if let Ok(key) = name.parse() {
                    builder = builder.with_config(key, value);
                }
            }
            Arc::new(builder.build()?)
        }};
    }
    Ok(match prefix {
        "aws_" => store!(AmazonS3Builder),
        "google_" => store!(GoogleCloudStorageBuilder),
        "azure_" => store!(MicrosoftAzureBuilder),
        _ => {
            let builder = HttpBuilder::new().with_url(name).with_retry(retry);
            Arc::new(builder.with_config(ClientConfigKey::AllowHttp, "true").build()?)
        }
    })
}

/// Locks what no panic leaves half done.
pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
