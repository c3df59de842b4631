"""Trees that follow the load: how many nodes pay at a batch size, by hand or as measured."""
