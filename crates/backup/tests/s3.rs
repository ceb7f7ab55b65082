//! A bucket spoken to over real connections: a server in this file that knows as much of S3 as a bucket of backups needs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, Once};

use bytes::Bytes;
use naru_backup::{Depot, DepotError};

/// What the server holds: objects by path, and the parts of uploads that are not complete.
#[derive(Default)]
struct Held {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    /// Requests that carried no signature.
    unsigned: usize,
    /// From now on every request is refused.
    refuses: bool,
}

type Shared = Arc<Mutex<Held>>;

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    signed: bool,
    body: Vec<u8>,
}

fn read(from: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    from.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut signed) = (0, false);
    loop {
        let mut header = String::new();
        from.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => signed = value.trim().starts_with("AWS4-HMAC-SHA256 Credential=someone/"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.replace("%2F", "/"))
    };
    let query = query.split('&').filter(|text| !text.is_empty()).map(pair).collect();
    Some(Request { method, path: path.to_owned(), query, signed, body })
}

fn answer(held: &mut Held, request: Request) -> (u16, String, Vec<u8>) {
    let Request { method, path, query, signed, body } = request;
    held.unsigned += usize::from(!signed);
    if held.refuses {
        let text = "<Error><Code>AccessDenied</Code><Message>no more</Message></Error>";
        return (403, String::new(), text.into());
    }
    let upload = query.get("uploadId").cloned();
    match (method.as_str(), upload) {
        ("POST", None) if query.contains_key("uploads") => {
            let id = format!("u{}", held.uploads.len());
            held.uploads.insert(id.clone(), BTreeMap::new());
            let text = format!(
                "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            );
            (200, String::new(), text.into())
        }
        ("PUT", Some(id)) => {
            let number: u32 = query["partNumber"].parse().expect("a number");
            held.uploads.get_mut(&id).expect("an upload").insert(number, body);
            (200, format!("ETag: \"{number}\"\r\n"), Vec::new())
        }
        ("POST", Some(id)) => {
            let parts = held.uploads.remove(&id).expect("an upload");
            held.objects.insert(path, parts.into_values().flatten().collect());
            let text = "<CompleteMultipartUploadResult><Location>l</Location><Bucket>b</Bucket><Key>k</Key><ETag>\"e\"</ETag></CompleteMultipartUploadResult>";
            (200, String::new(), text.into())
        }
        ("DELETE", Some(id)) => {
            held.uploads.remove(&id);
            (204, String::new(), Vec::new())
        }
        ("PUT", None) => {
            held.objects.insert(path, body);
            (200, "ETag: \"e\"\r\n".to_owned(), Vec::new())
        }
        ("DELETE", None) => {
            held.objects.remove(&path);
            (204, String::new(), Vec::new())
        }
        ("GET", None) if query.contains_key("list-type") => {
            let prefix = query.get("prefix").cloned().unwrap_or_default();
            let mut text = "<ListBucketResult><IsTruncated>false</IsTruncated>".to_owned();
            for (object, bytes) in &held.objects {
                let key = object.trim_start_matches("/store/");
                // As with a delimiter: what lies deeper is no object of this place.
                if key.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/')) {
                    let size = bytes.len();
                    text += &format!(
                        "<Contents><Key>{key}</Key><LastModified>2026-09-21T14:13:20.000Z</LastModified><ETag>e</ETag><Size>{size}</Size></Contents>"
                    );
                }
            }
            (200, String::new(), (text + "</ListBucketResult>").into_bytes())
        }
        ("GET", None) => match held.objects.get(&path) {
            Some(bytes) => {
                let head = "ETag: \"e\"\r\nLast-Modified: Mon, 21 Sep 2026 14:13:20 GMT\r\n".to_owned();
                (200, head, bytes.clone())
            }
            None => (404, String::new(), b"<Error><Code>NoSuchKey</Code></Error>".to_vec()),
        },
        (method, _) => panic!("{method} {path} {query:?}"),
    }
}

fn serve() -> (Shared, Vec<(String, String)>) {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let held = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let shared = held.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let held = shared.clone();
            std::thread::spawn(move || {
                let mut out = stream.try_clone().expect("a handle");
                let mut from = BufReader::new(stream);
                while let Some(request) = read(&mut from) {
                    let (code, head, body) = answer(&mut held.lock().expect("the server"), request);
                    let length = body.len();
                    let head = format!("HTTP/1.1 {code} x\r\n{head}Content-Length: {length}\r\n\r\n");
                    if out.write_all(&[head.as_bytes(), &body].concat()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let variables = [
        ("AWS_ENDPOINT_URL", format!("http://{address}")),
        ("AWS_ACCESS_KEY_ID", "someone".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("AWS_REGION", "here".to_owned()),
        ("HOME", "/".to_owned()),
    ];
    (held, variables.map(|(name, value)| (name.to_owned(), value)).to_vec())
}

async fn content(depot: &Depot, name: &str) -> Vec<u8> {
    let mut from = depot.get(name).await.expect("read");
    let mut bytes = Vec::new();
    while let Some(piece) = from.next().await.expect("read") {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

#[tokio::test]
async fn a_backup_is_in_the_bucket_whole_or_not_at_all() {
    let (held, variables) = serve();
    let depot = Depot::with("s3://store/naru/prod/", variables).expect("a place");
    assert_eq!(depot.to_string(), "s3://store/naru/prod");
    assert!(depot.list().await.expect("list").is_empty());

    // Of one part, and of several.
    for (name, size) in [("a.backup", 5), ("b.backup", 20 << 20)] {
        let bytes: Vec<u8> = (0..size).map(|at: usize| (at / 7) as u8).collect();
        let mut put = depot.put(name, 0).await.expect("begin");
        for piece in bytes.chunks(3 << 20) {
            put.write(Bytes::copy_from_slice(piece)).await.expect("write");
        }
        assert!(!held.lock().expect("the server").objects.contains_key(&format!("/store/naru/prod/{name}")));
        assert_eq!(put.finish().await.expect("finish"), size as u64);
        assert_eq!(content(&depot, name).await, bytes);
    }
    held.lock().expect("the server").objects.insert("/store/naru/prod/deeper/c.backup".to_owned(), Vec::new());
    let names: Vec<(String, u64)> =
        depot.list().await.expect("list").into_iter().map(|stored| (stored.name, stored.size)).collect();
    assert_eq!(names, [("a.backup".to_owned(), 5), ("b.backup".to_owned(), 20 << 20)]);

    // One that is given up leaves neither an object nor parts.
    let mut put = depot.put("d.backup", 0).await.expect("begin");
    put.write(Bytes::from(vec![1; 9 << 20])).await.expect("write");
    assert_eq!(held.lock().expect("the server").uploads.len(), 1);
    put.abandon().await;
    assert!(held.lock().expect("the server").uploads.is_empty());
    assert_eq!(depot.list().await.expect("list").len(), 2);

    depot.remove("a.backup").await.expect("remove");
    assert_eq!(depot.list().await.expect("list").len(), 1);
    assert!(matches!(depot.get("a.backup").await.err(), Some(DepotError::Bucket { doing: "read", .. })));
    assert_eq!(held.lock().expect("the server").unsigned, 0, "every request is signed");

    held.lock().expect("the server").refuses = true;
    let mut put = depot.put("e.backup", 0).await.expect("begin");
    put.write(Bytes::from_static(b"x")).await.expect("gathered");
    let error = put.finish().await.expect_err("refused");
    assert!(error.to_string().contains("s3://store/naru/prod/e.backup"), "{error}");
}

#[test]
fn a_bucket_needs_a_name() {
    for wrong in ["s3://", "s3:///prefix"] {
        assert!(Depot::with(wrong, []).is_err(), "{wrong}");
    }
}
