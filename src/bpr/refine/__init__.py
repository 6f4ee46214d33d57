"""What happens to the network's patches: pasted, written shard by shard, merged in the order of the input."""
