//! The packet loop over real sockets and files in memory, failures included.
#![allow(missing_docs, clippy::pedantic, clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lockstep_transfer::Event;
use proptest::prelude::*;
use support::{Client, ERROR, ERROR_CHECKSUM, Fixture, Flags, SUCCESS, eventually, pattern};

const LIMIT: u64 = 128 << 20;
const LAST: Flags = Flags {
    last: true,
    sync: false,
};

#[test]
fn what_is_written_in_packets_of_any_size_is_read_back() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    let mut node = 10;
    for length in [0, 1, 511, 512, 513, 64_512, 65_536, (1 << 20) + 3, 9 << 20] {
        for packet_bytes in [512, 64_512, 65_536, (2 << 20) + 5, 9 << 20] {
            if length / packet_bytes > 1000 {
                continue;
            }
            let data = pattern(length, node);
            fixture.files.put(node, b"");
            client.write(node, 0, 0, LIMIT);
            client.write_all(0, &data, packet_bytes);
            assert_eq!(fixture.files.get(node), data);
            client.read(node, 0, length as u64, 2);
            assert_eq!(client.packets(0).unwrap(), data);
            client.read_status();
            node += 1;
        }
    }
    assert!(
        fixture
            .events()
            .iter()
            .all(|event| event.complete && event.error.is_none())
    );
    eventually("all files are released", || {
        fixture.files.open.lock().is_empty()
    });
}

#[test]
fn a_range_is_read_from_its_offset() {
    let fixture = Fixture::new();
    let data = pattern(3 << 20, 7);
    fixture.files.put(2, &data);
    let mut client = fixture.client();
    for (offset, length) in [(0, 512), (512, 100), (1 << 20, (2 << 20) - 1), (3 << 20, 0)] {
        client.read(2, offset, length, 2);
        let range = offset as usize..(offset + length) as usize;
        assert_eq!(client.packets(offset).unwrap(), data[range]);
        client.read_status();
    }
}

#[test]
fn reading_without_checksums_sends_none() {
    let fixture = Fixture::new();
    fixture.files.put(2, &pattern(1000, 7));
    let mut client = fixture.client();
    client.read(2, 0, 1000, 0);
    let packet = client.packet().unwrap();
    assert_eq!((packet.checksums.len(), packet.data.len()), (0, 1000));
    assert!(client.packet().unwrap().is_last);
}

#[test]
fn a_second_block_lands_at_its_offset_in_the_file() {
    let fixture = Fixture::new();
    let data = pattern(3000, 3);
    let mut client = fixture.client();
    client.write(1, 0, 0, 2000);
    client.write_all(0, &data[..2000], 700);
    client.write(1, 2000, 0, 2000);
    client.write_all(0, &data[2000..], 700);
    assert_eq!(fixture.files.get(1), data);
}

#[test]
fn an_acknowledged_packet_is_in_the_file() {
    let fixture = Fixture::new();
    let data = pattern(10 * 65_536, 5);
    let mut client = fixture.client();
    client.write(1, 0, 0, LIMIT);
    for (seqno, packet) in data.chunks(65_536).enumerate() {
        let offset = seqno * 65_536;
        client.send(offset as u64, seqno as i64, packet, Flags::default());
        assert_eq!(client.acknowledgement(), Some((seqno as i64, SUCCESS)));
        assert_eq!(fixture.files.get(1), data[..offset + 65_536]);
    }
    assert_eq!(fixture.files.syncs.load(Ordering::Relaxed), 0);
}

#[test]
fn a_stream_is_stored_in_big_aligned_writes() {
    let fixture = Fixture::new();
    let data = pattern(32 << 20, 5);
    let mut client = fixture.client();
    client.write(1, 0, 0, LIMIT);
    client.write_all(0, &data, 64_512);
    let writes = fixture.files.writes.load(Ordering::Relaxed);
    assert!(writes < 200, "{writes} writes for 32 MiB");
}

#[test]
fn sync_block_makes_the_bytes_durable_before_its_acknowledgement() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.write(1, 0, 0, LIMIT);
    client.send(
        0,
        0,
        b"hello",
        Flags {
            last: false,
            sync: true,
        },
    );
    assert_eq!(client.acknowledgement(), Some((0, SUCCESS)));
    assert_eq!(fixture.files.syncs.load(Ordering::Relaxed), 1);
    let id = fixture.script.requests.lock()[0].id;
    assert_eq!(
        fixture.events(),
        [Event {
            id,
            bytes: 5,
            complete: false,
            error: None
        }]
    );
    client.send(
        5,
        1,
        b"",
        Flags {
            last: true,
            sync: true,
        },
    );
    assert_eq!(client.acknowledgement(), Some((1, SUCCESS)));
    assert_eq!(fixture.files.syncs.load(Ordering::Relaxed), 2);
    assert_eq!(
        fixture.events()[1],
        Event {
            id,
            bytes: 5,
            complete: true,
            error: None
        }
    );
}

#[test]
fn a_partial_chunk_sent_again_after_a_flush_is_stored_once() {
    let fixture = Fixture::new();
    let data = pattern(1400, 9);
    let mut client = fixture.client();
    client.write(1, 0, 0, LIMIT);
    client.send(0, 0, &data[..700], Flags::default());
    assert_eq!(client.acknowledgement(), Some((0, SUCCESS)));
    client.send(512, 1, &data[512..1400], Flags::default());
    client.send(512, 2, &data[512..600], Flags::default());
    client.send(1400, 3, b"", LAST);
    for seqno in 1..4 {
        assert_eq!(client.acknowledgement(), Some((seqno, SUCCESS)));
    }
    assert_eq!(fixture.files.get(1), data);
    assert_eq!(fixture.events()[0].bytes, 1400);
}

#[test]
fn an_append_goes_on_where_the_block_ends() {
    let fixture = Fixture::new();
    let data = pattern(2000, 11);
    fixture.files.put(1, &data[..700]);
    let mut client = fixture.client();
    client.write(1, 0, 700, LIMIT);
    client.send(700, 0, &data[700..1024], Flags::default());
    client.send(1024, 1, &data[1024..], Flags::default());
    client.send(2000, 2, b"", LAST);
    for seqno in 0..3 {
        assert_eq!(client.acknowledgement(), Some((seqno, SUCCESS)));
    }
    assert_eq!(fixture.files.get(1), data);
}

#[test]
fn heartbeats_are_answered_and_flush_what_waits() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.write(1, 0, 0, LIMIT);
    client.send(0, -1, b"", Flags::default());
    assert_eq!(client.acknowledgement(), Some((-1, SUCCESS)));
    client.send(0, 0, b"abc", Flags::default());
    client.send(0, -1, b"", Flags::default());
    assert_eq!(client.acknowledgement(), Some((0, SUCCESS)));
    assert_eq!(client.acknowledgement(), Some((-1, SUCCESS)));
}

#[test]
fn damaged_packets_are_not_stored() {
    let fixture = Fixture::new();
    let data = pattern(2048, 13);
    let mut client = fixture.client();
    client.write(1, 0, 0, LIMIT);
    client.send(0, 0, &data[..1024], Flags::default());
    let words = support::crc32c_words(&data[1024..]);
    let mut damaged = data[1024..].to_vec();
    damaged[600] ^= 1;
    client.send_raw(1024, 1, &damaged, &words, Flags::default());
    client.send(2048, 2, b"", LAST);
    assert_eq!(client.acknowledgement(), Some((0, SUCCESS)));
    assert_eq!(client.acknowledgement(), Some((1, ERROR_CHECKSUM)));
    assert!(client.is_closed());
    assert_eq!(fixture.files.get(1), data[..1024]);
    eventually("the event", || fixture.events().len() == 1);
    let event = &fixture.events()[0];
    assert_eq!(
        (event.bytes, event.complete, event.error),
        (1024, false, Some("EBADMSG"))
    );
}

#[test]
fn a_full_disk_is_an_error_acknowledgement() {
    let fixture = Fixture::new();
    *fixture.files.full_at.lock() = Some(1000);
    let mut client = fixture.client();
    client.write(1, 0, 0, LIMIT);
    client.send(0, 0, &pattern(800, 1), Flags::default());
    assert_eq!(client.acknowledgement(), Some((0, SUCCESS)));
    client.send(800, 1, &pattern(800, 2), Flags::default());
    assert_eq!(client.acknowledgement(), Some((1, ERROR)));
    assert!(client.is_closed());
    let event = &fixture.events()[0];
    assert_eq!(
        (event.bytes, event.complete, event.error),
        (800, false, Some("ENOSPC"))
    );
}

#[test]
fn packets_that_leave_a_gap_or_the_block_end_the_write() {
    for (offset, length) in [(1, 10), (0, 2001), (u64::MAX, 1), (1 << 62, 1)] {
        let fixture = Fixture::new();
        let mut client = fixture.client();
        client.write(1, 0, 0, 2000);
        client.send(offset, 0, &pattern(length, 1), Flags::default());
        assert!(client.is_closed());
        eventually("the event", || fixture.events().len() == 1);
        assert_eq!(
            fixture.events()[0].error,
            Some("EPROTO"),
            "{offset} {length}"
        );
        assert_eq!(fixture.files.get(1), b"");
    }
}

#[test]
fn what_came_before_the_client_died_is_kept() {
    let fixture = Fixture::new();
    let data = pattern(100_000, 17);
    let mut client = fixture.client();
    client.write(1, 0, 0, LIMIT);
    client.send(0, 0, &data, Flags::default());
    client.stream.write_all(&[0, 0, 2]).unwrap();
    drop(client);
    eventually("the event", || fixture.events().len() == 1);
    let event = &fixture.events()[0];
    assert_eq!(
        (event.bytes, event.complete, event.error),
        (100_000, false, Some("ECONNRESET"))
    );
    assert_eq!(fixture.files.get(1), data);
}

#[test]
fn damage_at_the_start_is_an_answer_and_later_ends_the_stream() {
    let fixture = Fixture::new();
    let data = pattern(8 << 20, 19);
    fixture.files.put(2, &data);
    *fixture.files.damaged.lock() = Some(100);
    let mut client = fixture.client();
    client.numbers(81, &[2, 0, 8 << 20, 2]);
    let answer = client.message().unwrap();
    assert_eq!(answer[..2], [8, ERROR]);
    assert!(String::from_utf8_lossy(&answer).contains("EIO"));
    // The connection is still good, and so are undamaged ranges.
    client.read(2, 512, 1024, 2);
    assert_eq!(client.packets(512).unwrap(), data[512..1536]);
    client.read_status();
    *fixture.files.damaged.lock() = Some(5 << 20);
    client.read(2, 0, 8 << 20, 2);
    assert_eq!(client.packets(0), None);
    assert!(client.is_closed());
}

#[test]
fn a_file_that_is_not_there_or_too_short_is_an_answer() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.numbers(81, &[99, 0, 1, 2]);
    assert_eq!(client.message().unwrap()[..2], [8, ERROR]);
    client.numbers(81, &[1, 0, 1, 2]);
    assert_eq!(client.message().unwrap()[..2], [8, ERROR]);
    client.numbers(80, &[99, 0, 0, LIMIT, 2]);
    assert_eq!(client.message().unwrap()[..2], [8, ERROR]);
    assert_eq!(fixture.events()[0].error, Some("ENOENT"));
    client.operation(85, b"");
    assert_eq!(client.message().unwrap(), b"sum");
}

#[test]
fn garbage_closes_its_connection_and_no_other() {
    let fixture = Fixture::new();
    let mut good = fixture.client();
    good.operation(85, b"");
    assert_eq!(good.message().unwrap(), b"sum");
    let oversize = [0, 28, 81, 0xff, 0xff, 0xff, 0xff, 0x0f];
    let endless = [0, 28, 81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let inputs: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &[0xde, 0xad, 0xbe, 0xef],
        &oversize,
        &endless,
        &[0, 28, 255, 0],
        &[0, 27, 81, 0],
    ];
    for input in inputs {
        let mut bad = fixture.client();
        bad.stream.write_all(input).unwrap();
        assert!(bad.is_closed(), "{input:?}");
    }
    good.operation(85, b"");
    assert_eq!(good.message().unwrap(), b"sum");
}

#[test]
fn a_connection_too_many_is_closed_and_a_free_place_taken() {
    let fixture = Fixture::with(2, Duration::from_secs(30));
    let mut clients: Vec<Client> = (0..2).map(|_| fixture.client()).collect();
    for client in &mut clients {
        client.operation(85, b"");
        assert_eq!(client.message().unwrap(), b"sum");
    }
    assert!(fixture.client().is_closed());
    clients.pop();
    eventually("a place is free", || {
        let mut client = fixture.client();
        client.stream.write_all(&[0, 28, 85, 0]).is_ok() && client.message().is_some()
    });
}

#[test]
fn idle_connections_are_closed() {
    let fixture = Fixture::with(4, Duration::from_millis(150));
    let mut client = fixture.client();
    client.operation(85, b"");
    assert_eq!(client.message().unwrap(), b"sum");
    assert!(client.is_closed());
}

#[test]
fn closing_ends_what_is_under_way() {
    let fixture = Fixture::new();
    let mut writer = fixture.client();
    writer.write(1, 0, 0, LIMIT);
    writer.send(0, 0, b"abc", Flags::default());
    assert_eq!(writer.acknowledgement(), Some((0, SUCCESS)));
    fixture.files.put(2, &pattern(64 << 20, 3));
    let mut reader = fixture.client();
    reader.read(2, 0, 64 << 20, 2);
    let start = Instant::now();
    fixture.server.close();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(writer.is_closed());
    assert_eq!(fixture.events().len(), 1);
    assert_eq!(fixture.events()[0].bytes, 3);
    assert!(fixture.files.open.lock().is_empty());
    fixture.server.close();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Packets of any sizes that overlap as after flushes: the file is always what was sent, and
    /// every acknowledgement comes, in order.
    #[test]
    fn any_sequence_of_packets_gives_the_bytes_once(
        packets in proptest::collection::vec((0_usize..70_000, 0_usize..2, any::<bool>()), 1..30),
        seed in any::<u64>(),
    ) {
        let total: usize = packets.iter().map(|packet| packet.0).sum();
        let data = pattern(total, seed);
        let fixture = Fixture::new();
        let mut client = fixture.client();
        client.write(1, 0, 0, LIMIT);
        let mut end = 0;
        for (seqno, &(length, overlaps, sync)) in packets.iter().enumerate() {
            let start = end - (end % 512) * overlaps;
            end += length;
            let flags = Flags { last: false, sync };
            client.send(start as u64, seqno as i64, &data[start..end], flags);
        }
        client.send(end as u64, packets.len() as i64, b"", LAST);
        for seqno in 0..=packets.len() {
            prop_assert_eq!(client.acknowledgement(), Some((seqno as i64, SUCCESS)));
        }
        prop_assert_eq!(fixture.files.get(1), data);
    }

    /// Whatever comes in the middle of a write, the server lives and stores nothing unverified.
    #[test]
    fn garbage_in_a_write_ends_it(bytes in proptest::collection::vec(any::<u8>(), 6..200)) {
        let fixture = Fixture::new();
        let mut client = fixture.client();
        client.write(1, 0, 0, LIMIT);
        client.stream.write_all(&bytes).unwrap();
        drop(client);
        eventually("the event", || fixture.events().len() == 1);
        prop_assert!(!fixture.events()[0].complete);
        prop_assert_eq!(fixture.files.get(1), b"");
        let mut other = fixture.client();
        other.operation(85, b"");
        prop_assert_eq!(other.message().unwrap(), b"sum");
    }
}
