use pyplugin_rust::http2::{
    Config, Connection, ConnectionError, ErrorCode, Event, GOAWAY, HEADER_BYTES, Header, Headers,
    PREFACE, SETTINGS, Side,
};

/// Whatever a peer sends, in whatever chunks, a connection tells the same and answers the same, is
/// over when the peer broke the rules, and then says so.
///
/// The first byte chooses the side, and whether the peer has begun as it must; each one up to a zero
/// says how long the next chunk is; the stream follows.
pub fn http2_bytes(data: &[u8]) {
    let [choice, rest @ ..] = data else { return };
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let (sizes, stream) = rest.split_at(end);
    let mut stream = stream.strip_prefix(b"\0").unwrap_or(stream);

    let mut whole = End::new(*choice);
    whole.receive(stream);
    let mut pieces = End::new(*choice);
    for size in sizes {
        let Some((chunk, after)) = stream.split_at_checked(usize::from(*size)) else { break };
        pieces.receive(chunk);
        stream = after;
    }
    pieces.receive(stream);
    assert_eq!(whole.told, pieces.told);
    assert_eq!(whole.finish(), pieces.finish());
}

#[derive(Debug, PartialEq)]
enum Told {
    Headers(&'static str, u32, Headers),
    Data(u32, Vec<u8>),
    Ended(u32),
    Reset(u32, u32, bool),
    Writable(u32),
    Settings,
    Pong([u8; 8]),
    GoAway(u32, u32),
    Failed(ConnectionError),
}

struct End {
    connection: Connection,
    told: Vec<Told>,
}

impl End {
    fn new(choice: u8) -> Self {
        let side = if choice & 1 == 0 { Side::Client } else { Side::Server };
        // Limits that a few frames can reach.
        let config = Config { max_streams: 3, max_header_list: 500, ..Config::default() };
        let mut connection = Connection::new(side, config);
        if side == Side::Client {
            for id in [1, 3] {
                connection.send_headers(id, [(&b":method"[..], &b"POST"[..])], id == 3).unwrap();
            }
            assert_eq!(connection.send_data(1, b"data", false), Ok(4));
        }
        let mut end = Self { connection, told: Vec::new() };
        if choice & 2 == 0 {
            if side == Side::Server {
                end.receive(PREFACE);
            }
            let header = Header { length: 0, kind: SETTINGS, flags: 0, stream: 0 };
            end.receive(&header.encode());
        }
        end.connection.take_out(|_| ());
        end
    }

    fn receive(&mut self, mut chunk: &[u8]) {
        loop {
            let event = match self.connection.receive(&mut chunk) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(self.told.last(), Some(&Told::Failed(error)));
                    break;
                }
            };
            let told = match event {
                Event::Request(id, headers) => Told::Headers("request", id, headers),
                Event::Response(id, headers) => Told::Headers("response", id, headers),
                Event::Trailers(id, headers) => Told::Headers("trailers", id, headers),
                Event::Data(id, bytes) => {
                    assert!(!bytes.is_empty());
                    self.connection.acknowledge(id, bytes.len()).unwrap();
                    if let Some(Told::Data(last, text)) = self.told.last_mut()
                        && *last == id
                    {
                        text.extend_from_slice(bytes);
                        continue;
                    }
                    Told::Data(id, bytes.to_vec())
                }
                Event::Ended(id) => Told::Ended(id),
                Event::Reset { stream, code, by_peer } => Told::Reset(stream, code, by_peer),
                Event::Writable(id) => Told::Writable(id),
                Event::Settings => Told::Settings,
                Event::Pong(payload) => Told::Pong(payload),
                Event::GoAway { last_stream, code } => Told::GoAway(last_stream, code),
                Event::Failed(error) => Told::Failed(error),
            };
            if let Told::Headers(_, _, headers) = &told {
                let size: usize = headers.iter().map(|(n, v)| n.len() + v.len() + 32).sum();
                assert!(size <= 500);
            }
            self.told.push(told);
            assert!(self.connection.stream_count() <= 3);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let out = self.connection.take_out(<[u8]>::to_vec);
        let mut rest = out.as_slice();
        let mut last = None;
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let header = Header::decode(*header);
            last = Some(header.kind);
            rest = &after[header.length as usize..];
        }
        assert!(rest.is_empty());
        if let Some(error) = self.connection.failure() {
            assert_eq!(last, Some(GOAWAY));
            assert_ne!(error.code, ErrorCode::NoError);
        }
        out
    }
}
