//! A scripted server that speaks as an OpenAI-compatible one, or as something worse.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// What a server does with a request.
#[derive(Clone)]
pub(crate) enum Script {
    /// A chat completion whose text depends on the prompt.
    Say(Arc<dyn Fn(&str) -> String + Send + Sync>),
    /// These bytes with this status line.
    Raw(&'static str, Vec<u8>),
    /// Another script for each prompt.
    Depends(Arc<dyn Fn(&str) -> Script + Send + Sync>),
    /// Nothing for a long time.
    Sleep,
    /// A body that does not end.
    Endless,
}

/// A server on loopback; its threads end with the process.
pub(crate) struct Server {
    pub(crate) url: String,
    /// The bodies of all requests.
    pub(crate) asked: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    pub(crate) fn start(script: Script) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, kept) = (script.clone(), Arc::clone(&kept));
                thread::spawn(move || serve(stream, &script, &kept));
            }
        });
        Server { url, asked }
    }

    pub(crate) fn say(reply: impl Fn(&str) -> String + Send + Sync + 'static) -> Server {
        Server::start(Script::Say(Arc::new(reply)))
    }
}

fn serve(mut stream: TcpStream, script: &Script, kept: &Mutex<Vec<Value>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line).unwrap_or(0) > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    kept.lock().unwrap().push(body.clone());
    let prompt = body["messages"][1]["content"].as_str().unwrap();
    let chosen = match script {
        Script::Depends(choose) => choose(prompt),
        script => script.clone(),
    };
    let (status, reply) = match &chosen {
        Script::Depends(_) => panic!("a script that depends chooses one that does not"),
        Script::Say(reply) => {
            let text = reply(prompt);
            (
                "200 OK",
                json!({"choices": [{"message": {"role": "assistant", "content": text}}]})
                    .to_string()
                    .into_bytes(),
            )
        }
        Script::Raw(status, bytes) => (*status, bytes.clone()),
        Script::Sleep => return thread::sleep(Duration::from_secs(60)),
        Script::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{");
            while stream.write_all(&[b' '; 65_536]).is_ok() {}
            return;
        }
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", reply.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&reply));
}
