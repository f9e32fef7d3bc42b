// A Go program for the sandbox: goroutines on several threads, timers, signals, garbage collection, a nil pointer.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

func main() {
	fmt.Println(os.Args[1:], os.Getenv("GREETING"))
	var group sync.WaitGroup
	var lock sync.Mutex
	sum := 0
	for i := 0; i < 50; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			for k := 0; k < 1000; k++ {
				lock.Lock()
				sum += i
				lock.Unlock()
			}
		}(i)
	}
	group.Wait()
	fmt.Println(sum)
	numbers := make(chan int)
	go func() {
		for i := 0; i < 3; i++ {
			time.Sleep(time.Millisecond)
			numbers <- i
		}
		close(numbers)
	}()
	for number := range numbers {
		fmt.Print(number, " ")
	}
	timeout, cancel := context.WithTimeout(context.Background(), 2*time.Millisecond)
	defer cancel()
	<-timeout.Done()
	fmt.Println(timeout.Err())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-signals)
	os.WriteFile("file", []byte("text"), 0o644)
	data, err := os.ReadFile("file")
	fmt.Println(string(data), err)
	blocks := [][]byte{}
	for i := 0; i < 32; i++ {
		blocks = append(blocks, make([]byte, 1<<20))
	}
	runtime.GC()
	input, _ := io.ReadAll(os.Stdin)
	fmt.Print(len(blocks), " ", string(input))
	go func() {
		for {
		}
	}()
	time.Sleep(5 * time.Millisecond)
	defer func() {
		fmt.Println(recover())
		os.Exit(6)
	}()
	var nothing *int
	*nothing = 1
}
