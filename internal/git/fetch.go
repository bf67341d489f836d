package git

type fetched struct{}
