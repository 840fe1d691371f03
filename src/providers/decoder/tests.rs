//! Recorded streams, cut into pieces of any size.

use super::*;
use crate::anthropic::AnswerShape;
use proptest::prelude::*;

const STREAMS: [&str; 14] = [
    include_str!("../tests/fixtures/openai_stream.txt"),
    include_str!("../tests/fixtures/openai_tool_stream.txt"),
    include_str!("../tests/fixtures/vllm_stream.txt"),
    include_str!("../tests/fixtures/ollama_stream.txt"),
    include_str!("../tests/fixtures/ollama_tool_stream.txt"),
    include_str!("../tests/fixtures/llamacpp_stream.txt"),
    include_str!("../tests/fixtures/lmstudio_stream.txt"),
    include_str!("../tests/fixtures/openrouter_stream.txt"),
    include_str!("../tests/fixtures/openrouter_error_stream.txt"),
    include_str!("../tests/fixtures/no_done_stream.txt"),
    include_str!("../tests/fixtures/litellm_stream.txt"),
    include_str!("../tests/fixtures/anthropic_stream.txt"),
    include_str!("../tests/fixtures/anthropic_tool_stream.txt"),
    include_str!("../tests/fixtures/anthropic_error_stream.txt"),
];

const CONTEXT: RequestContext<'_> = RequestContext { model: Some("m"), key: None };

/// Decodes a stream in pieces of these sizes; returns its chunks and how it ended.
fn decode(stream: &[u8], sizes: &[usize]) -> (Vec<ParsedChunk>, Option<CallError>) {
    let format = if stream.starts_with(b"event:") {
        StreamFormat::Anthropic(StreamTranslator::new(AnswerShape::Plain, 0))
    } else {
        StreamFormat::OpenAi
    };
    let (mut decoder, mut chunks, mut rest) = (Decoder::new(format, 1), Vec::new(), stream);
    for size in sizes.iter().cycle() {
        let (part, after) = rest.split_at(rest.len().min(*size));
        let mut bytes = Bytes::copy_from_slice(part);
        loop {
            match decoder.read(&mut bytes, CONTEXT) {
                Ok(Some(chunk)) => chunks.push(chunk),
                Ok(None) => break,
                Err(error) => return (chunks, Some(error)),
            }
        }
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    loop {
        match decoder.end(CONTEXT) {
            Ok(Some(chunk)) => chunks.push(chunk),
            Ok(None) => return (chunks, None),
            Err(error) => return (chunks, Some(error)),
        }
    }
}

proptest! {
    #[test]
    fn decoded_chunks_do_not_depend_on_byte_boundaries(
        stream in 0..STREAMS.len(),
        sizes in prop::collection::vec(1_usize..400, 1..20),
    ) {
        let stream = STREAMS[stream].as_bytes();
        prop_assert_eq!(decode(stream, &sizes), decode(stream, &[stream.len()]));
    }

    #[test]
    fn decoder_accepts_arbitrary_bytes_without_panic(
        text in prop::collection::vec(any::<u8>(), 0..200),
        stream in 0..STREAMS.len(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut mixed = STREAMS[stream].as_bytes().to_vec();
        let at = at.index(mixed.len());
        mixed.splice(at..at, text);
        decode(&mixed, &[17]);
    }
}

fn texts(stream: &str) -> String {
    let (chunks, error) = decode(stream.as_bytes(), &[stream.len()]);
    assert_eq!(error, None);
    chunks.into_iter().filter_map(|chunk| chunk.chat_chunk.content).collect()
}

#[test]
fn finish_reason_does_not_end_a_stream() {
    assert_eq!(texts(include_str!("../tests/fixtures/stream_finish_on_every_chunk.txt")), "one two three");
    let calls = include_str!("../tests/fixtures/stream_finish_before_second_tool.txt");
    let (chunks, _) = decode(calls.as_bytes(), &[calls.len()]);
    let names: Vec<String> = chunks.into_iter().flat_map(|chunk| chunk.calls).map(|call| call.name).collect();
    assert_eq!(names, ["f", "g"]);
    assert_eq!(texts(include_str!("../tests/fixtures/stream_error_beside_answer.txt")), "all is well");
}

#[test]
fn stream_without_an_answer_is_broken() {
    let role =
        "data: {\"choices\": [{\"index\": 0, \"delta\": {\"role\": \"assistant\", \"content\": \"\"}}]}\n\n";
    for stream in ["data: [DONE]\n\n".to_owned(), format!("{role}data: [DONE]\n\n")] {
        let (_, error) = decode(stream.as_bytes(), &[stream.len()]);
        assert_eq!(*error.unwrap().kind(), CallErrorKind::Broken, "{stream}");
    }
}

#[test]
fn anthropic_tool_input_at_the_block_start_is_kept() {
    let stream = include_str!("../tests/fixtures/anthropic_tool_input_at_start.txt");
    let (chunks, error) = decode(stream.as_bytes(), &[stream.len()]);
    assert_eq!(error, None);
    let arguments: String =
        chunks.into_iter().flat_map(|chunk| chunk.calls).map(|call| call.arguments).collect();
    assert_eq!(arguments, "{\"path\":\"a.txt\"}");
}

#[test]
fn stream_cut_before_its_finish_reason_is_incomplete() {
    for stream in STREAMS {
        let is_whole = |length: usize| decode(&stream.as_bytes()[..length], &[length]).1.is_none();
        let reason = stream.rfind("finish_reason\":\"").or(stream.rfind("\"stop_reason\": \"")).unwrap_or(0);
        // Some providers write the reason first, and the event ends later.
        let before = stream[..reason].rfind("data: ").unwrap_or(0);
        for length in (1..=before).rev().step_by(7) {
            assert!(!is_whole(length), "{}", &stream[..length]);
        }
    }
}
