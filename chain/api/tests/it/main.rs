//! Tests of the API with the real client against a real node.

mod document;
