//! Header blocks: the examples of RFC 7541, and what is no block.

use proptest::collection::vec;
use proptest::prelude::*;
use pyplugin_rust::http2::{Decoder, Encoder, Headers, TABLE_BYTES};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn list(fields: &[(&str, &str)]) -> Headers {
    crate::ends::pairs(fields).collect()
}

fn decode(decoder: &mut Decoder, hex: &str) -> Headers {
    decoder.decode(&bytes(hex), 1 << 20).unwrap().unwrap()
}

// Of sections C.3 and C.4, which differ in the coding of strings.
const REQUESTS: [&[(&str, &str)]; 3] = [
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")],
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ],
];

#[test]
fn single_fields() {
    for (hex, name, value) in [
        (
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            "custom-key",
            "custom-header",
        ),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path", "/sample/path"),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password", "secret"),
        ("82", ":method", "GET"),
    ] {
        assert_eq!(decode(&mut Decoder::default(), hex), list(&[(name, value)]));
    }
}

#[test]
fn requests_in_plain_strings() {
    let mut decoder = Decoder::default();
    for (hex, fields) in [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]
    .iter()
    .zip(REQUESTS)
    {
        assert_eq!(decode(&mut decoder, hex), list(fields));
    }
}

#[test]
fn requests_in_huffman_code_both_ways() {
    let mut decoder = Decoder::default();
    let mut encoder = Encoder::default();
    for (hex, fields) in [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]
    .iter()
    .zip(REQUESTS)
    {
        assert_eq!(decode(&mut decoder, hex), list(fields));
        let mut out = Vec::new();
        encoder.encode(crate::ends::pairs(fields), &mut out);
        assert_eq!(out, bytes(hex));
    }
}

#[test]
fn responses_that_push_each_other_out() {
    let mut decoder = Decoder::default();
    // To the 256 bytes that sections C.5 and C.6 begin with.
    decode(&mut decoder, "3fe1 01");
    let first = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
        2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
    let fields = [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    assert_eq!(decode(&mut decoder, first), list(&fields));
    let mut fields = fields;
    fields[0].1 = "307";
    assert_eq!(decode(&mut decoder, "4883 640e ffc1 c0bf"), list(&fields));
    let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab
        77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160
        65c0 03ed 4ee5 b106 3d50 07";
    let fields = [
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ];
    assert_eq!(decode(&mut decoder, third), list(&fields));
}

#[test]
fn what_is_no_block() {
    for (hex, reason) in [
        ("80", "a header index without an entry"),
        ("be", "a header index without an entry"),
        ("7f00 00", "a header index without an entry"),
        ("ff80 8080 8080 8080", "a header index too large"),
        ("8220", "a table size update inside of a header block"),
        ("3fe2 1f", "a header table larger than was offered"),
        ("3f", "a header table larger than was offered"),
        ("00", "a header block that does not end"),
        ("0001 61", "a header block that does not end"),
        ("0005 61", "a header block that does not end"),
        ("007f", "a header block that does not end"),
        // Padding that is no padding, too much of it, and the end mark.
        ("0081 1800", "a header that is no Huffman code"),
        ("0082 1fff 00", "a header that is no Huffman code"),
        ("0084 ffff fffc 00", "a header that is no Huffman code"),
        ("0085 ffff ffff ff00", "a header that is no Huffman code"),
    ] {
        assert_eq!(Decoder::default().decode(&bytes(hex), 1000), Err(reason), "{hex}");
    }
}

#[test]
fn updates_of_the_size_at_the_beginning() {
    let mut decoder = Decoder::default();
    assert_eq!(decode(&mut decoder, "4001 6101 62"), list(&[("a", "b")]));
    assert_eq!(decode(&mut decoder, "be"), list(&[("a", "b")]));
    assert_eq!(decode(&mut decoder, "203f e11f 82"), list(&[(":method", "GET")]));
    assert!(decoder.decode(&[0xbe], 1000).is_err());
}

#[test]
fn a_list_that_is_too_long_is_read_nevertheless() {
    let mut decoder = Decoder::default();
    let value = "v".repeat(1000);
    let mut block = Vec::new();
    Encoder::default().encode(crate::ends::pairs(&[("name", &value)]), &mut block);
    assert_eq!(decoder.decode(&block, 1035), Ok(None));
    assert_eq!(decoder.decode(&[0xbe], 1036), Ok(Some(list(&[("name", &value)]))));
    // Of a few bytes, many: none of them is kept.
    assert_eq!(decoder.decode(&vec![0xbe; 100_000], 10_000), Ok(None));
}

fn lengths(encoder: &mut Encoder, name: &str, value: &str) -> [usize; 2] {
    [(); 2].map(|()| {
        let mut out = Vec::new();
        encoder.encode([(name.as_bytes(), value.as_bytes())], &mut out);
        out.len()
    })
}

#[test]
fn what_comes_again_is_short_but_for_secrets_and_what_differs_from_call_to_call() {
    let mut encoder = Encoder::default();
    assert_eq!(lengths(&mut encoder, "x-tenant", "seventeen")[1], 1);
    for name in ["authorization", "cookie", "grpc-timeout", "grpc-message", "x-trace-bin"] {
        let [first, second] = lengths(&mut encoder, name, "seventeen");
        assert!(second > 7 && second == first, "{name}");
    }
    let [first, second] = lengths(&mut encoder, "x-long", &"v".repeat(2000));
    assert_eq!(first, second);
    let mut out = Vec::new();
    encoder.encode([(&b"authorization"[..], &b"key"[..])], &mut out);
    // RFC 7541 §6.2.3: never to be indexed by anybody.
    assert_eq!(out[0] & 0xf0, 0x10);
}

#[test]
fn a_table_that_shrinks_and_grows() {
    let mut encoder = Encoder::default();
    let mut decoder = Decoder::default();
    for sizes in [vec![], vec![0], vec![100], vec![0, 4096], vec![1 << 20], vec![50, 10, 60]] {
        for size in &sizes {
            encoder.resize(*size);
        }
        for _ in 0..2 {
            let mut out = Vec::new();
            encoder.encode(crate::ends::pairs(REQUESTS[2]), &mut out);
            assert_eq!(decoder.decode(&out, 1000), Ok(Some(list(REQUESTS[2]))), "{sizes:?}");
            if sizes == [0] {
                assert!(out.len() > 20 && out[0] & 0xe0 != 0x40);
            }
        }
    }
    encoder.resize(0);
    encoder.resize(TABLE_BYTES);
    let mut out = Vec::new();
    encoder.encode([], &mut out);
    assert_eq!(out, [0x20, 0x3f, 0xe1, 0x1f]);
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        lists in vec(vec(("[a-z-]{0,9}", vec(any::<u8>(), 0..40)), 0..12), 1..12),
        sizes in vec(proptest::option::of(0..5000_usize), 12),
    ) {
        let mut encoder = Encoder::default();
        let mut decoder = Decoder::default();
        for (fields, size) in lists.iter().zip(sizes) {
            if let Some(size) = size {
                encoder.resize(size);
            }
            let fields: Headers =
                fields.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())).collect();
            let mut out = Vec::new();
            encoder.encode(fields.iter(), &mut out);
            prop_assert_eq!(decoder.decode(&out, 1 << 20), Ok(Some(fields)));
        }
    }

    #[test]
    fn garbage_is_refused_or_understood(blocks in vec(vec(any::<u8>(), 0..100), 1..5)) {
        let mut decoder = Decoder::default();
        for block in blocks {
            if let Ok(Some(headers)) = decoder.decode(&block, 500) {
                let size: usize = headers.iter().map(|(n, v)| n.len() + v.len() + 32).sum();
                prop_assert!(size <= 500);
            }
        }
    }
}
