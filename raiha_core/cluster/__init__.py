"""Galleries beyond one machine: built by parts and searched by shards, over Ray."""
